-- Settle what an agent reports; return the ids of the commands that moved.  Each element of the arrays is one report.
--   rounds: reports about one command have different rounds, so that they are settled in the order in which they were written;
--     a round settles any number of commands at once
--   kinds: ack, progress, complete, failed, retry (a failure after which another attempt may help), cancelled; answer and
--     answer_failed name only the session, in `ids`
--   attempts: the numbers in the reports;  vals: results and progress;  errors: reasons
--   acked: the report follows an ack of the command in the same message.  Both are one update, and two rows of history.
--
-- A report of an older attempt does not count for the last one.  The number in a report identifies the attempt.  An agent of
-- protocol 1 sends no number, so the epoch of its connection decides: it must not be older than the last attempt's.
-- An end that the service only guessed is replaced by the agent's own result.
-- Progress only moves forward: what was said before `p_said_at` may be settled after it.
-- A command of an earlier agent of the same id is another agent's command.
create function {f}.settle(
    p_agent_id text, p_incarnation bigint, p_epoch bigint, p_said_at timestamptz, last_round integer, rounds integer[],
    kinds text[], ids text[], attempts integer[], vals jsonb[], errors text[], acked boolean[])
returns text[]
language plpgsql
as $$
declare
    moved text[] := '{}';
    batch text[];
begin
    if kinds && array['answer', 'answer_failed'] then
        for i in 1 .. cardinality(kinds) loop
            if kinds[i] in ('answer', 'answer_failed') then
                ids[i] := {f}.command_of_session(
                    p_agent_id, p_incarnation, p_epoch, ids[i], vals[i] ->> 'status', ids[1 : i - 1]);
                kinds[i] := case kinds[i] when 'answer' then 'complete' else 'failed' end;
            end if;
        end loop;
    end if;
    for step in 1 .. last_round loop
        if 'ack' = any(kinds) then
            with settled as (
                update agent_commands c
                set status = 'acknowledged',
                    moves = c.moves + 1,
                    recorded = c.moves + 1,
                    moved_from = c.status,
                    acknowledged_at = clock_timestamp(),
                    ack_deadline = null,
                    execution_deadline = clock_timestamp() + c.execution_timeout * interval '1 second',
                    cause = 'acknowledged by its agent'
                from unnest(rounds, kinds, ids, attempts) as said (round, kind, command_id, attempt)
                where said.round = step
                  and said.kind = 'ack'
                  and c.command_id = said.command_id
                  and c.agent_id = p_agent_id
                  and (c.incarnation is null or c.incarnation = p_incarnation)
                  and c.status in ('pending', 'sent')
                  and c.attempt > coalesce(c.answered_attempt, 0)
                  and {f}.is_of_attempt(c, said.attempt, p_epoch)
                returning c.command_id, c.moved_from, c.status, c.attempt, c.epoch, c.cause
            ), recorded as (
                insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, position)
                select s.command_id, s.moved_from, s.status, s.attempt, s.epoch, s.cause,
                    feed_place(s.command_id, (select feed_overtaken_after((select count(*) from settled))))
                from settled s
            )
            select array_agg(command_id) into batch from settled;
            moved := moved || batch;
        end if;
        if 'progress' = any(kinds) then
            with settled as (
                update agent_commands c
                set progress = said.value,
                    said_at = p_said_at,
                    execution_deadline = clock_timestamp() + c.execution_timeout * interval '1 second'
                from unnest(rounds, kinds, ids, attempts, vals) as said (round, kind, command_id, attempt, value)
                where said.round = step
                  and said.kind = 'progress'
                  and c.command_id = said.command_id
                  and c.agent_id = p_agent_id
                  and (c.incarnation is null or c.incarnation = p_incarnation)
                  and c.status = 'acknowledged'
                  and (c.said_at is null or c.said_at <= p_said_at)
                  and {f}.is_of_attempt(c, said.attempt, p_epoch)
                returning c.command_id
            )
            select array_agg(command_id) into batch from settled;
            moved := moved || batch;
        end if;
        if 'cancelled' = any(kinds) then
            with settled as (
                update agent_commands c
                set status = 'cancelled',
                    moves = c.moves + 1,
                    completed_at = clock_timestamp(),
                    ack_deadline = null,
                    execution_deadline = null,
                    stop_wanted = false,
                    cancel_confirmed = true,
                    cause = 'cancelled by its agent'
                from unnest(rounds, kinds, ids, attempts) as said (round, kind, command_id, attempt)
                where said.round = step
                  and said.kind = 'cancelled'
                  and c.command_id = said.command_id
                  and c.agent_id = p_agent_id
                  and (c.incarnation is null or c.incarnation = p_incarnation)
                  and c.status in ('sent', 'acknowledged', 'timed_out')
                  and (c.cancel_requested_at is not null or c.status = 'timed_out')  -- it was told to stop at its timeout
                  and {f}.is_of_attempt(c, said.attempt, p_epoch)
                returning c.command_id
            )
            select array_agg(command_id) into batch from settled;
            moved := moved || batch;
        end if;
        if 'retry' = any(kinds) then
            -- Between half and one and a half of 2 s, doubled with each attempt, up to 300 s.
            with settled as (
                update agent_commands c
                set status = 'pending',
                    moves = c.moves + 1,
                    ack_deadline = null,
                    execution_deadline = null,
                    error_message = said.error,
                    agent_error = said.error,
                    answered_attempt = c.attempt,
                    cause = 'attempt ' || c.attempt || ' failed at its agent, which asks for another: '
                        || left(said.error, 500),
                    retry_at = clock_timestamp()
                        + least(2.0 ^ least(c.attempt, 16), 300) * (0.5 + random()) * interval '1 second'
                from unnest(rounds, kinds, ids, attempts, errors) as said (round, kind, command_id, attempt, error)
                where said.round = step
                  and said.kind = 'retry'
                  and c.command_id = said.command_id
                  and c.agent_id = p_agent_id
                  and (c.incarnation is null or c.incarnation = p_incarnation)
                  and c.status in ('sent', 'acknowledged')
                  and c.attempt between 1 and c.max_attempts - 1
                  and c.cancel_requested_at is null
                  and {f}.is_of_attempt(c, said.attempt, p_epoch)
                returning c.command_id
            )
            select array_agg(command_id) into batch from settled;
            moved := moved || batch;
        end if;
        if kinds && array['failed', 'retry'] then
            -- A failure of an older attempt does not count while a newer one is under way.  A retryable one ends the command
            -- only where no attempt is left or a cancel was requested: where it is pending, another attempt is to come.  One
            -- that is said again changes nothing.
            with settled as (
                update agent_commands c
                set status = 'failed',
                    moves = c.moves + 1,
                    acknowledged_at = case
                        when said.acked and c.status in ('pending', 'sent') then clock_timestamp() else c.acknowledged_at
                    end,
                    completed_at = clock_timestamp(),
                    said_at = p_said_at,
                    ack_deadline = null,
                    execution_deadline = null,
                    stop_wanted = false,
                    error_message = said.error,
                    agent_error = said.error,
                    cause = 'failed at its agent'
                from unnest(rounds, kinds, ids, attempts, errors, acked)
                    as said (round, kind, command_id, attempt, error, acked)
                where said.round = step
                  and said.kind in ('failed', 'retry')
                  and c.command_id = said.command_id
                  and c.agent_id = p_agent_id
                  and (c.incarnation is null or c.incarnation = p_incarnation)
                  and c.status in ('pending', 'sent', 'acknowledged', 'timed_out', 'dead', 'expired', 'cancelled')
                  and not c.cancel_confirmed
                  and c.attempt > 0
                  and (said.kind = 'failed' or (
                    c.status <> 'pending' and coalesce(said.attempt, c.attempt) > coalesce(c.answered_attempt, 0)))
                  and (c.status not in ('sent', 'acknowledged')
                    or {f}.is_of_attempt(c, said.attempt, p_epoch))
                returning c.command_id
            )
            select array_agg(command_id) into batch from settled;
            moved := moved || batch;
        end if;
        if 'complete' = any(kinds) then
            with settled as (
                update agent_commands c
                set status = 'completed',
                    moves = c.moves + 1,
                    recorded = c.moves + 1,
                    moved_from = c.status,
                    result = said.value,
                    acknowledged_at = case
                        when said.acked and c.status in ('pending', 'sent') then clock_timestamp() else c.acknowledged_at
                    end,
                    completed_at = clock_timestamp(),
                    said_at = p_said_at,
                    ack_deadline = null,
                    execution_deadline = null,
                    stop_wanted = false,
                    error_message = null,
                    cause = 'completed by its agent'
                from unnest(rounds, kinds, ids, vals, acked) as said (round, kind, command_id, value, acked)
                where said.round = step
                  and said.kind = 'complete'
                  and c.command_id = said.command_id
                  and c.agent_id = p_agent_id
                  and (c.incarnation is null or c.incarnation = p_incarnation)
                  and c.status in ('pending', 'sent', 'acknowledged', 'timed_out', 'dead', 'expired', 'cancelled')
                  and not c.cancel_confirmed
                  and c.attempt > 0
                returning c.command_id, c.moved_from, c.status, c.attempt, c.epoch, c.cause,
                    said.acked and c.moved_from in ('pending', 'sent') as acked
            ), recorded as (
                insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, position)
                select
                    s.command_id,
                    case when s.acked and transition.is_end then 'acknowledged' else s.moved_from end,
                    case when transition.is_end then s.status else 'acknowledged' end,
                    s.attempt,
                    s.epoch,
                    case when transition.is_end then s.cause else 'acknowledged by its agent' end,
                    feed_place(s.command_id, (select feed_overtaken_after((select count(*) from settled))))
                from settled s
                cross join (values (false), (true)) as transition (is_end)
                where s.acked or transition.is_end
            )
            select array_agg(command_id) into batch from settled;
            moved := moved || batch;
        end if;
    end loop;
    return moved;
end $$;

-- Whether a report is about the last attempt of a command: by the number in it, or, without one, by the epoch `said_over`.
create function {f}.is_of_attempt(c agent_commands, said_attempt integer, said_over bigint) returns boolean
language sql stable as $$
    select case when said_attempt is null then c.epoch <= said_over else c.attempt = said_attempt end
$$;

-- The command that an answer with only a session belongs to: the first that was sent, of the session, or the only one in
-- flight.  A command that was sent only over newer connections does not count.  A connection that is forgotten already (no
-- epoch) was the agent's last one if the agent has none now, and an older one otherwise.
-- An agent that executed a command twice answers twice: see `answers_again`.
create function {f}.command_of_session(
    p_agent_id text, p_incarnation bigint, p_epoch bigint, session text, state text, taken text[]) returns text
language plpgsql
as $$
declare
    found text;
    newest bigint;
    others text[];
begin
    select coalesce(p_epoch, a.epoch - (a.connection_id is not null)::integer) into newest
    from agents a
    where a.agent_id = p_agent_id;
    select c.command_id into found
    from command_list l
    cross join lateral (select * from agent_commands c where c.command_id = l.command_id offset 0) as c
    where c.agent_id = p_agent_id
      and (c.incarnation is null or c.incarnation = p_incarnation)
      and l.session_id = session
      and c.status in ('sent', 'acknowledged', 'timed_out', 'dead', 'expired')
      and c.attempt > 0
      and not {f}.answers_again(c, state)
      and c.command_id <> all(array_remove(taken, null))
      and exists (
        select from command_history h where h.command_id = c.command_id and h.to_status = 'sent' and h.epoch <= newest)
    order by c.status in ('timed_out', 'dead', 'expired'), c.seq
    limit 1;
    if found is null then
        -- A command whose session nobody recorded: it is meant if nothing else is in flight.
        others := array(
            select c.command_id
            from agent_commands c
            where c.agent_id = p_agent_id
              and (c.incarnation is null or c.incarnation = p_incarnation)
              and c.status = 'sent'
              and c.epoch <= newest
            limit 2);
        if cardinality(others) = 1 and others[1] <> all(array_remove(taken, null)) then
            select c.command_id into found
            from agent_commands c
            where c.command_id = others[1]
              and c.session_id is null;
        end if;
    end if;
    return found;
end $$;

-- Whether this state of the session is no answer to a command, but the second answer to an earlier one that was sent twice: a
-- session that runs is no answer to a stop.
create function {f}.answers_again(c agent_commands, state text) returns boolean language sql stable as $$
    select coalesce(session_goal(c.action) <> state, false) and exists (
        select
        from command_list l
        cross join lateral (select * from agent_commands e where e.command_id = l.command_id offset 0) as e
        where l.session_id = c.session_id
          and l.seq < c.seq
          and e.agent_id = c.agent_id
          and e.status = 'completed'
          and e.attempt > 1
          and session_goal(e.action) = state)
$$;
