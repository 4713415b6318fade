-- Take one message of an agent: record a sign of life, settle its reports, and claim what its window now admits.  Rows:
--   refused: the message does not count, because the agent was rejected or deleted, or its key revoked.  It is the only row.
--   admitted: `attempt` is how many commands moved; with `p_traced`, `correlation_id` has the ids of up to 100 of them
--   too_many: the agent exceeds its rate of messages a minute; the message counts all the same
--   unwelcomed: this is the agent's current connection, with its `epoch`, and its welcome has not been posted yet
--   unmoved: a report that moved nothing; `frame` is the status of the command, null if it is not this agent's
--   command, stop: see `claim`; without a token nothing is claimed
-- `p_traced`: whether the ids are wanted, for a line of the log.
-- `p_said_at`: when the gateway received it, in milliseconds since 1970; null: now.
create function {f}.receive(
    p_agent_id text, p_connection_id text, p_key_id text, p_event text, p_said_at bigint, p_rate integer, p_heartbeat boolean,
    p_capacity jsonb, p_sessions integer, p_reports jsonb, p_token uuid, p_traced boolean)
returns table (
    kind text, connection_id text, epoch bigint, mode text, refusals integer,
    command_id text, attempt integer, moves integer, frame text, seconds_left double precision, correlation_id text)
language plpgsql
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    found_row record;
    agent agents;
    said_over bigint;
    moved text[] := '{}';
    counted integer;
    current boolean;
    answers_again boolean := false;
    last_round integer;
    rounds integer[];
    kinds text[];
    ids text[];
    attempts integer[];
    vals jsonb[];
    errors text[];
    acked boolean[];
begin
    select
        a as agent,
        k.epoch,
        k.closed_at is null as is_open,
        exists (
            select
            from agent_keys s
            where s.key_id = coalesce(p_key_id::uuid, k.key_id)
              and s.revoked_at is not null) as is_revoked
    into found_row
    from agents a
    left join agent_connections k on k.connection_id = p_connection_id and k.agent_id = a.agent_id
    where a.agent_id = p_agent_id;
    agent := found_row.agent;
    said_over := found_row.epoch;
    connection_id := p_connection_id;
    if agent.approval is distinct from 'approved' or agent.deleted_at is not null or found_row.is_revoked then
        kind := 'refused';
        return next;
        return;
    end if;
    -- A connection that was dropped as idle, but still exists, becomes the agent's current connection again.
    current := agent.connection_id = p_connection_id
        or (agent.connection_id is null and said_over = agent.epoch and found_row.is_open);
    if current and (p_heartbeat or not agent.spoke or not agent.live or agent.connection_id is null
        or agent.last_seen_at < now() - interval '10 seconds')
    then
        perform {f}.hear(agent, p_connection_id, p_capacity, p_sessions);
    end if;
    if p_rate > 0 then
        update agents a
        set minute = date_trunc('minute', now()),
            messages = case when a.minute = date_trunc('minute', now()) then a.messages + 1 else 1 end
        where a.agent_id = (select l.agent_id from agents l where l.agent_id = p_agent_id for no key update skip locked)
        returning a.messages into counted;
        if counted > p_rate then
            kind := 'too_many';
            return next;
        end if;
    end if;
    if p_reports is not null then
        select
            max(r.round),
            array_agg(r.round),
            array_agg(r.kind),
            array_agg(r.id),
            array_agg(r.attempt),
            array_agg(r.value),
            array_agg(r.error),
            array_agg(coalesce(r.acked, false))
        into last_round, rounds, kinds, ids, attempts, vals, errors, acked
        from jsonb_to_recordset(p_reports) as r (
            round integer, kind text, id text, attempt integer, value jsonb, error text, acked boolean);
        if p_event is not null and said_over is not null and kinds && array['answer', 'answer_failed'] then
            -- The same message comes again if the answer to its commit was lost, or from the queue of late reports.
            update agent_connections k
            set answered = (p_event || k.answered)[1 : 20]
            where k.connection_id = p_connection_id
              and p_event <> all(k.answered);
            answers_again := not found;
        end if;
        if not answers_again then
            moved := {f}.settle(
                p_agent_id, agent.incarnation, said_over,
                least(coalesce(to_timestamp(p_said_at / 1000.0), now()), now()),
                last_round, rounds, kinds, ids, attempts, vals, errors, acked);
        end if;
        if cardinality(moved) < cardinality(ids) and not answers_again then
            return query
            select distinct 'unmoved', null, null::bigint, null, null::integer, said.command_id, null::integer, null::integer,
                c.status, null::double precision, c.correlation_id
            from unnest(ids, kinds) as said (command_id, kind)
            left join agent_commands c
                on c.command_id = said.command_id
                and c.agent_id = p_agent_id
                and (c.incarnation is null or c.incarnation = agent.incarnation)
            where said.kind not in ('answer', 'answer_failed')
              and said.command_id <> all(moved);
        end if;
    end if;
    if current and agent.dialect = 'batching' and not agent.live then
        kind := 'unwelcomed';
        epoch := agent.epoch;
        return next;
        epoch := null;
    end if;
    kind := 'admitted';
    attempt := cardinality(moved);
    if p_traced then
        correlation_id := (
            select string_agg(distinct c.correlation_id, ' ')
            from agent_commands c
            where c.command_id = any(moved[1 : 100]));
    end if;
    return next;
    if not current or p_token is null or cardinality(moved) = 0 and not p_heartbeat then
        return;
    end if;
    if agent.dialect = 'acknowledging' then
        -- Its one command is in flight, most often: then there is no need to lock the agent.
        if exists (select from agent_commands f where f.agent_id = p_agent_id and f.status = 'sent') then
            return;
        end if;
    end if;
    begin
        return query select * from {f}.claim(p_agent_id, p_token);
    exception when lock_not_available then
        null;  -- somebody else has the agent; the sweep delivers
    end;
end $$;

-- Record a sign of life over an agent's current connection.  A row that somebody else has locked is left: the next message is a
-- sign of life, too.  But an agent may say all in its first message, while the worker that posts to it has the row for a
-- moment: left out, it would look mute.
create function {f}.hear(agent agents, p_connection_id text, p_capacity jsonb, p_sessions integer) returns void
language plpgsql
set lock_timeout = '1s'
as $$
begin
    update agents a
    set last_seen_at = now(),
        spoke = true,
        mute_connections = 0,
        -- Its handshake is over; an agent of protocol 2 gets its welcome first.
        live = a.live or a.dialect <> 'batching',
        connection_id = p_connection_id,
        capacity = coalesce(p_capacity, a.capacity),
        active_sessions = coalesce(p_sessions, a.active_sessions)
    where a.agent_id = case
            when agent.spoke
            then (select l.agent_id from agents l where l.agent_id = agent.agent_id for no key update skip locked)
            else agent.agent_id
        end
      and a.epoch = agent.epoch
      and (a.connection_id = p_connection_id or a.connection_id is null);
exception when lock_not_available then
    null;
end $$;

-- Whether a command that was lost after its ack is sent again.
create function {f}.is_redelivered(c agent_commands) returns boolean language sql stable as $$
    select c.redeliver_after_ack and c.attempt < c.max_attempts and c.cancel_requested_at is null
$$;

-- What an agent is executing, told after a crash.  What it acknowledged over an older connection and does not name is lost: it
-- ends, or is pending again where the command says so.  What it names has its ack.  Returns how many commands moved.
create function {f}.resume(p_agent_id text, p_connection_id text, ids text[], attempts integer[]) returns integer
language plpgsql
set plan_cache_mode = force_generic_plan
as $$
declare
    current bigint;
    p_incarnation bigint;
    named integer;
    lost integer;
begin
    select a.epoch, a.incarnation into current, p_incarnation
    from agents a
    where a.agent_id = p_agent_id
      and a.connection_id = p_connection_id;
    if not found then
        return 0;
    end if;
    update agent_commands c
    set status = 'acknowledged',
        moves = c.moves + 1,
        acknowledged_at = clock_timestamp(),
        ack_deadline = null,
        execution_deadline = clock_timestamp() + c.execution_timeout * interval '1 second',
        cause = 'named by its agent as running'
    from unnest(ids, attempts) as running (command_id, attempt)
    where c.command_id = running.command_id
      and c.agent_id = p_agent_id
      and (c.incarnation is null or c.incarnation = p_incarnation)
      and c.status in ('pending', 'sent')
      and c.attempt > coalesce(c.answered_attempt, 0)
      and c.attempt = coalesce(running.attempt, c.attempt);
    get diagnostics named = row_count;
    update agent_commands c
    set status = case
            when c.cancel_requested_at is not null then 'cancelled'
            when {f}.is_redelivered(c) then 'pending'
            else 'timed_out'
        end,
        moves = c.moves + 1,
        cause = 'lost by its agent',
        error_message = case
            when {f}.is_redelivered(c) then c.error_message
            else concat_ws('; the agent reported: ', 'lost by its agent, which no longer executes it', c.agent_error)
        end,
        completed_at = case when not {f}.is_redelivered(c) then clock_timestamp() end,
        retry_at = {f}.paced_until(c),
        answered_attempt = c.attempt,
        stop_wanted = false,
        execution_deadline = null
    where c.agent_id = p_agent_id
      and (c.incarnation is null or c.incarnation = p_incarnation)
      and c.status = 'acknowledged'
      and c.epoch < current
      and c.command_id <> all(ids);
    get diagnostics lost = row_count;
    return named + lost;
end $$;
