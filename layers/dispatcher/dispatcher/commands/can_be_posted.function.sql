-- Whether commands can be posted to an agent now.  A post during the handshake would get a 410: `live` says that the handshake
-- is over; if flush did not run, we assume it after 10 s, because no agent waits longer.  An agent of protocol 2 gets its
-- welcome first: see `needs_welcome`.
create function {f}.can_be_posted(a agents) returns boolean language sql stable as $$
    select a.connection_id is not null
       and a.approval = 'approved'
       and a.deleted_at is null
       and (a.live or (a.dialect <> 'batching' and a.connected_at < now() - interval '10 seconds'))
       and (a.lease_expires_at is null or a.lease_expires_at <= now())
       and (a.throttled_until is null or a.throttled_until <= now())
       and not {f}.is_mute(a)
$$;

-- Whether an agent of protocol 2 has got no welcome, because its flush did not run.
create function {f}.needs_welcome(a agents) returns boolean language sql stable as $$
    select a.connection_id is not null
       and a.dialect = 'batching'
       and not a.live
       and a.approval = 'approved'
       and a.deleted_at is null
       and a.connected_at < now() - interval '10 seconds'
$$;

-- Whether an agent executes but says nothing: it was sent a command over this connection and has been silent for longer than a
-- first ack takes (an agent that never acknowledges: for two and a half heartbeats), or its last two connections were so, or
-- the last one for longer than a heartbeat.
create function {f}.is_mute(a agents) returns boolean language sql stable as $$
    select not a.spoke
       and (a.mute_connections >= 2
            or coalesce(a.commanded_at < now() - case a.dialect
                when 'silent' then interval '75 seconds'
                else interval '15 seconds'
            end, false))
$$;

-- Whether a pending command may go to its agent now, apart from its place in the queue.
create function {f}.is_due(c agent_commands, incarnation bigint) returns boolean language sql stable as $$
    select (c.not_before is null or c.not_before <= now())
       and (c.retry_at is null or c.retry_at <= now())
       and (c.deliver_by is null or c.deliver_by > now())
       and (c.incarnation is null or c.incarnation = incarnation)
$$;

-- An agent that never acknowledges names only the session in its answer: so it has one command in flight for each session.
create function {f}.session_is_free(agent agents, wanted text) returns boolean language sql stable as $$
    select agent.dialect <> 'silent' or not exists (
        select from agent_commands f
        where f.agent_id = agent.agent_id
          and f.status = 'sent'
          and f.session_id is not distinct from wanted)
$$;

-- How many more commands fit the agent's window.  While the gateway refuses posts, one command at a time tries.
create function {f}.room(agent agents) returns integer language sql stable as $$
    select case
        when agent.dialect = 'silent' then 1
        else least(
            case when agent.refusals > 0 then 1 else agent.delivery_window end,
            agent.delivery_window - (
                select count(*)::integer
                from (
                    select
                    from agent_commands f
                    where f.agent_id = agent.agent_id
                      and f.status = 'sent'
                    limit agent.delivery_window) as in_flight))
    end
$$;

-- Whether an agent has not been told yet, over its current connection, to stop a command.
create function {f}.is_to_stop(c agent_commands, agent agents) returns boolean language sql stable as $$
    select c.stop_wanted
       and (c.stop_epoch is null or c.stop_epoch < agent.epoch)
       -- What was cancelled between two attempts may be executed.
       and c.status in ('sent', 'acknowledged', 'timed_out', 'cancelled')
       and (c.incarnation is null or c.incarnation = agent.incarnation)
$$;

-- Whether a worker that takes the agent's lease has something to post: a command, or a request to stop one.
create function {f}.has_work(agent agents) returns boolean language sql stable as $$
    select {f}.room(agent) > 0 and exists (
        select
        from agent_commands c
        where c.agent_id = agent.agent_id
          and c.status = 'pending'
          and {f}.is_due(c, agent.incarnation)
          and {f}.session_is_free(agent, c.session_id)
        order by c.priority desc, c.seq
        offset 0)
    or agent.dialect = 'batching' and exists (
        select
        from agent_commands c
        where c.agent_id = agent.agent_id
          and c.stop_wanted
          and {f}.is_to_stop(c, agent))
$$;

-- How long an agent has for its ack, in seconds: 20 for the first attempt, doubled with each, up to 300.  An agent that never
-- acknowledges has its execution timeout.
create function {f}.ack_seconds(mode text, attempt integer, execution_timeout integer) returns double precision
    language sql volatile as $$
    select case
        when mode = 'silent' then execution_timeout
        else least(20 << least(attempt - 1, 4), 300) * (0.9 + 0.2 * random())  -- a power of numeric 2.0 takes 5 µs
    end
$$;
