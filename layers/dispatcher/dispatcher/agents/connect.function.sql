-- Record a connection as the agent's current one; no row if the agent may not have any.  What was sent over an older connection
-- and not acknowledged returns to the queue.  A worker that posts to the older connection loses its lease.
-- The last attempt of a command stays `sent` for as long as such a worker may still find that it did not arrive, so that it
-- does not count: for 20 s from the claim (see POSTING_SECONDS in commands/delivery.py).
-- `p_patience` is how many seconds the caller waits: a handshake that was answered in the meantime must not replace the
-- connection that the agent has.
-- Without a mode the platform decides: docker-agents never acknowledge.
-- `may_have_arrived`: an agent of protocol 2 may be able to say of some of its next commands that they came over an older
-- connection.  False is sure: more of the queue is looked at than an agent may have in flight, and a worker that still posts
-- over an older connection may give its commands back.
create function {f}.connect(
    p_agent_id text, p_connection_id text, p_key_id text, p_source_ip text, p_mode text, p_window integer,
    p_patience double precision)
returns table (epoch bigint, mode text, superseded text[], may_have_arrived boolean)
language plpgsql
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    agent agents;
    unanswered record;
begin
    if p_key_id is not null then
        -- Locked against revocation until this is committed: a later revocation sees the new connection and closes it.
        perform from agent_keys k
        where k.key_id = p_key_id::uuid
          and k.agent_id = p_agent_id
          and k.revoked_at is null
        for share;
        if not found then
            return;
        end if;
    end if;
    update agents a
    set epoch = a.epoch + 1,
        connection_id = p_connection_id,
        connected_at = now(),
        live = false,
        last_seen_at = now(),
        mute_connections = case
            when a.spoke then 0
            when a.commanded_at is not null then a.mute_connections + case
                -- An agent sends a heartbeat each 30 s: silence for longer is enough.
                when a.commanded_at + interval '45 seconds' < coalesce((
                    select k.closed_at from agent_connections k where k.agent_id = a.agent_id and k.epoch = a.epoch), now())
                then 2
                else 1
            end
            else a.mute_connections
        end,
        spoke = false,
        commanded_at = null,
        lease_token = null,
        lease_expires_at = null,
        throttled_until = null,
        refusals = 0,
        refused_since = null,
        dialect = coalesce(p_mode, case when a.platform = 'docker' then 'silent' else 'acknowledging' end),
        delivery_window = p_window
    where a.agent_id = p_agent_id
      and a.approval = 'approved'
      and a.deleted_at is null
    returning a.* into agent;
    if not found then
        return;
    end if;
    if clock_timestamp() > statement_timestamp() + p_patience * interval '1 second' then
        raise exception 'the handshake has been answered already' using errcode = 'query_canceled';
    end if;
    -- These ended long ago, for the gateway closes each connection after 2 h.
    delete from agent_connections k where k.agent_id = p_agent_id and k.connected_at < now() - interval '3 hours';
    superseded := array(
        select k.connection_id
        from agent_connections k
        where k.agent_id = p_agent_id
          and k.connection_id <> p_connection_id
          and k.closed_at is null
        order by k.epoch);
    -- The $connect event may come twice.
    insert into agent_connections as k (connection_id, agent_id, epoch, source_ip, key_id)
    values (p_connection_id, p_agent_id, agent.epoch, p_source_ip, p_key_id::uuid)
    on conflict (connection_id) do update set epoch = excluded.epoch;
    select
        array_agg(s.command_id) filter (where not last.may_be_posted) as ids,
        array_agg(s.moves) filter (where not last.may_be_posted) as seen,
        array_agg('attempt ' || s.attempt || ' was not acknowledged before the agent reconnected')
            filter (where not last.may_be_posted) as causes,
        array_agg(s.command_id) filter (where last.may_be_posted) as last_ids
    into unanswered
    from agent_commands s
    cross join lateral (select
        s.attempt >= s.max_attempts
        and s.cancel_requested_at is null
        and s.sent_at > clock_timestamp() - interval '20 seconds' as may_be_posted) as last
    where s.agent_id = p_agent_id
      and s.status = 'sent'
      and (s.epoch is null or s.epoch < agent.epoch);
    if unanswered.ids is not null then
        perform {f}.end_attempts(unanswered.ids, unanswered.seen, unanswered.causes, true);
    end if;
    if unanswered.last_ids is not null then
        update agent_commands s
        set ack_deadline = least(s.ack_deadline, s.sent_at + interval '20 seconds')
        where s.command_id = any(unanswered.last_ids)
          and s.status = 'sent';
    end if;
    epoch := agent.epoch;
    mode := agent.dialect;
    may_have_arrived := agent.dialect = 'batching' and (
        unanswered.last_ids is not null
        or (select coalesce(count(*) > 100 or bool_or(next.attempt > 0), false)
            from (
                select c.attempt
                from agent_commands c
                where c.agent_id = p_agent_id
                  and c.status = 'pending'
                order by c.priority desc, c.seq
                limit 101) as next));
    return next;
end $$;
