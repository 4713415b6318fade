-- Claim the commands of an agent that are due and fit its window, and the requests to stop commands that it has not got yet.
-- No row: the agent is not connected, another worker delivers to it, it must wait, or nothing is due.
--
-- An agent with one command in flight needs no lease: the command in flight keeps every other worker out.  The others get the
-- lease `p_token`, so that two workers do not post at the same time.
--
-- At first every ack deadline ends with the lease: if the worker dies before its post, the command waits no longer.  `release`
-- gives what was posted its whole time.
create function {f}.claim(p_agent_id text, p_token uuid)
returns table (
    kind text, connection_id text, epoch bigint, mode text, refusals integer,
    command_id text, attempt integer, moves integer, frame text, seconds_left double precision, correlation_id text)
language plpgsql
set plan_cache_mode = force_generic_plan
set lock_timeout = '250ms'
as $$
#variable_conflict use_column
declare
    agent agents;
    chosen text[];
    stops boolean := false;
    held_up boolean := false;
begin
    select a.* into agent
    from agents a
    where a.agent_id = p_agent_id
      and a.connection_id is not null
    for no key update;
    -- Whoever has waited for a lock as long as this may have given up: what it claimed would not be posted.
    if not found or clock_timestamp() > statement_timestamp() + interval '3 seconds' then
        return;
    end if;
    -- Asked once the row is locked.  A release that is not committed yet has looked for work without the caller's command or
    -- reports: a caller that saw the old lease would leave the next commands to the sweep.
    if not {f}.can_be_posted(agent) then
        return;
    end if;
    begin
        if agent.dialect = 'acknowledging' then
            -- One at a time: none while one is in flight.
            chosen := array(
                select c.command_id
                from agent_commands c
                where c.agent_id = p_agent_id
                  and c.status = 'pending'
                  and {f}.is_due(c, agent.incarnation)
                  and not exists (select from agent_commands f where f.agent_id = p_agent_id and f.status = 'sent')
                order by c.priority desc, c.seq
                limit 1
                for no key update of c);
        else
            chosen := {f}.next_commands(agent, false);
        end if;
    exception when lock_not_available then
        -- Somebody has locked one of the next commands.  It keeps its place, but not for longer than a minute.
        if agent.held_up_since is null then
            update agents a set held_up_since = now() where a.agent_id = p_agent_id;
        end if;
        if agent.held_up_since is null or agent.held_up_since > now() - interval '1 minute' then
            return;
        end if;
        chosen := {f}.next_commands(agent, true);
        held_up := true;
    end;
    if agent.held_up_since is not null and not held_up then
        update agents a set held_up_since = null where a.agent_id = p_agent_id;
    end if;
    if agent.dialect = 'batching' then
        stops := exists (
            select
            from agent_commands c
            where c.agent_id = p_agent_id
              and c.stop_wanted
              and {f}.is_to_stop(c, agent));
    end if;
    if cardinality(chosen) = 0 and not stops then
        return;
    end if;
    if agent.dialect <> 'acknowledging' or agent.commanded_at is null then
        update agents
        set lease_token = case when agent.dialect <> 'acknowledging' then p_token end,
            lease_expires_at = case when agent.dialect <> 'acknowledging' then clock_timestamp() + interval '30 seconds' end,
            commanded_at = case
                when cardinality(chosen) > 0 then coalesce(agent.commanded_at, clock_timestamp())
                else agent.commanded_at
            end
        where agent_id = p_agent_id;
    end if;
    if stops then
        return query
        select 'stop', agent.connection_id, agent.epoch, agent.dialect, agent.refusals, c.command_id, c.attempt,
            c.moves, null::text, null::double precision, c.correlation_id
        from agent_commands c
        where c.agent_id = p_agent_id
          and c.stop_wanted
          and {f}.is_to_stop(c, agent)
        order by c.seq
        limit 100;
    end if;
    if cardinality(chosen) = 0 then
        return;
    end if;
    return query
    with claimed as (
        update agent_commands c
        set status = 'sent',
            moves = c.moves + 1,
            recorded = c.moves + 1,
            attempt = c.attempt + 1,
            epoch = agent.epoch,
            sent_at = clock_timestamp(),
            cause = 'claimed for attempt ' || c.attempt + 1,
            ack_deadline = clock_timestamp() + interval '1 second'
                * least(30, {f}.ack_seconds(agent.dialect, c.attempt + 1, c.execution_timeout))
        where c.command_id = any(chosen)  -- locked while they were pending
        returning
            c.priority,
            c.seq,
            c.command_id,
            c.attempt,
            c.moves,
            c.epoch,
            c.cause,
            case agent.dialect
                when 'batching' then {f}.entry(c)
                else {f}.frame(c.command_id, c.action, c.payload)
            end as frame,
            extract(epoch from c.deliver_by - clock_timestamp())::double precision as seconds_left,
            c.correlation_id
    ), recorded as (
        insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, position)
        select c.command_id, 'pending', 'sent', c.attempt, c.epoch, c.cause, feed_place(c.command_id, (select feed_overtaken()))
        from claimed c
    )
    select 'command', agent.connection_id, agent.epoch, agent.dialect, agent.refusals, c.command_id, c.attempt, c.moves,
        c.frame, c.seconds_left, c.correlation_id
    from claimed c
    order by c.priority desc, c.seq;
end $$;

-- Choose and lock the next commands of an agent, in order.
create function {f}.next_commands(agent agents, skip boolean) returns text[] language plpgsql as $$
declare
    room constant integer := {f}.room(agent);
begin
    if room <= 0 then
        return '{}';
    elsif skip then
        return array(
            select c.command_id
            from agent_commands c
            where c.agent_id = agent.agent_id
              and c.status = 'pending'
              and {f}.is_due(c, agent.incarnation)
              and {f}.session_is_free(agent, c.session_id)
            order by c.priority desc, c.seq
            limit room
            for no key update skip locked);
    elsif agent.dialect = 'batching' then
        return array(
            select c.command_id
            from agent_commands c
            where c.agent_id = agent.agent_id
              and c.status = 'pending'
              and {f}.is_due(c, agent.incarnation)
            order by c.priority desc, c.seq
            limit room
            for no key update);
    end if;
    return array(
        select c.command_id
        from agent_commands c
        where c.agent_id = agent.agent_id
          and c.status = 'pending'
          and {f}.is_due(c, agent.incarnation)
          and {f}.session_is_free(agent, c.session_id)
        order by c.priority desc, c.seq
        limit room
        for no key update);
end $$;

-- Record that the handshake of a connection is over, unless a newer connection exists, and claim.
create function {f}.go_live(p_agent_id text, p_epoch bigint, p_token uuid)
returns table (
    kind text, connection_id text, epoch bigint, mode text, refusals integer,
    command_id text, attempt integer, moves integer, frame text, seconds_left double precision, correlation_id text)
language plpgsql
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    update agents a set live = true where a.agent_id = p_agent_id and a.epoch = p_epoch;
    return query select * from {f}.claim(p_agent_id, p_token);
end $$;
