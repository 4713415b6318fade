-- End attempts without an ack.  `reached`: they may have reached their agent.  What surely did not gives its attempt back, also
-- where the command has returned to the queue meanwhile, because its agent reconnected.
-- `seen` are the numbers of moves with which the commands were read: a number of an attempt can be given twice, if the first
-- one was given back, but a number of moves cannot.
-- The command is pending again; cancelled, if an operator requested that meanwhile; dead, if no attempt is left.
create function {f}.end_attempts(ids text[], seen integer[], causes text[], reached boolean) returns integer
language plpgsql
as $$
declare
    moved integer;
begin
    update agent_commands c
    set status = case
            when c.cancel_requested_at is not null then 'cancelled'
            when {f}.was_last(c, reached) then 'dead'
            else 'pending'
        end,
        moves = c.moves + 1,
        attempt = case when reached then c.attempt else c.attempt - 1 end,
        retry_at = case when reached then {f}.paced_until(c) else c.retry_at end,
        cause = case
            when {f}.was_last(c, reached) then ended.cause || '; no attempt is left of ' || c.max_attempts
            else ended.cause
        end,
        error_message = case
            when {f}.was_last(c, reached)
            then concat_ws('; the agent reported: ', ended.cause || '; no attempt is left of ' || c.max_attempts, c.agent_error)
            else c.error_message
        end,
        completed_at = case
            when c.cancel_requested_at is not null or {f}.was_last(c, reached) then clock_timestamp()
        end,
        -- What has reached its agent may be executing: the agent is told to stop it over the next connection, too.
        stop_wanted = c.stop_wanted and reached,
        ack_deadline = null
    from unnest(ids, seen, causes) as ended (command_id, moves, cause)
    where c.command_id = ended.command_id
      and (c.status = 'sent' and c.moves = ended.moves
        -- The same cause: this very call was made before, and its answer was lost.
        or c.status = 'pending' and c.moves = ended.moves + 1 and not reached and c.cause is distinct from ended.cause);
    get diagnostics moved = row_count;
    return moved;
end $$;

-- Whether the attempt that ends was the last one of a command that nobody has cancelled.
create function {f}.was_last(c agent_commands, reached boolean) returns boolean language sql stable as $$
    select reached and c.attempt >= c.max_attempts and c.cancel_requested_at is null
$$;

-- When the next attempt may come.  The one after the second is paced: it comes no sooner than 4 s after the second went out,
-- 8 s after the third, and so on up to 60 s, also over a new connection.
create function {f}.paced_until(c agent_commands) returns timestamptz language sql stable as $$
    select case
        when c.attempt >= 2 then c.sent_at + least(2.0 ^ least(c.attempt, 16), 60) * interval '1 second'
        else c.retry_at
    end
$$;

-- Give a claim back after its posts, and look once more: whoever found the lease taken relies on it.
--   taken: commands that the gateway took; their ack deadline becomes what it is for this attempt
--   unsendable: commands that can never be sent; they have failed
--   unsent: commands that surely did not reach the agent
--   told: commands that the agent was told to stop
--   outcome: 'taken', 'gone' (the connection does not exist any more), 'refused' or 'unknown' (the whole queue waits, so that
--   no command overtakes another: between half and all of 1 s, doubled with each refusal, up to 60 s)
create function {f}.release(
    p_agent_id text, p_token uuid, p_connection_id text, p_epoch bigint, outcome text,
    taken_ids text[], taken_moves integer[],
    unsendable_ids text[], unsendable_moves integer[], unsendable_causes text[],
    unsent_ids text[], unsent_moves integer[], unsent_cause text,
    told_ids text[], look_again boolean)
returns table (
    kind text, connection_id text, epoch bigint, mode text, refusals integer,
    command_id text, attempt integer, moves integer, frame text, seconds_left double precision, correlation_id text)
language plpgsql
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    -- The agent comes first, as in every other function: two that take the same locks in another order wait for each other.
    if outcome = 'gone' then
        update agents a set connection_id = null where a.agent_id = p_agent_id and a.connection_id = p_connection_id;
        update agent_connections k set closed_at = now() where k.connection_id = p_connection_id;
    end if;
    update agents a
    set lease_token = case when a.lease_token = p_token then null else a.lease_token end,
        lease_expires_at = case when a.lease_token = p_token then null else a.lease_expires_at end,
        refusals = case outcome when 'refused' then a.refusals + 1 when 'taken' then 0 else a.refusals end,
        refused_since = case outcome
            when 'refused' then coalesce(a.refused_since, now())
            when 'taken' then null
            else a.refused_since
        end,
        throttled_until = case
            when outcome in ('refused', 'unknown')
            then clock_timestamp() + least(60, 2.0 ^ least(a.refusals, 16)) * (0.5 + 0.5 * random()) * interval '1 second'
            else a.throttled_until
        end
    where a.agent_id = p_agent_id
      and a.epoch = p_epoch;
    if cardinality(taken_ids) > 0 then
        update agent_commands c
        set ack_deadline = c.sent_at + interval '1 second' * {f}.ack_seconds(a.dialect, c.attempt, c.execution_timeout)
        from agents a, unnest(taken_ids, taken_moves) as posted (command_id, moves)
        where a.agent_id = p_agent_id
          and c.command_id = posted.command_id
          -- Whoever waits here for a report waits for a claim that waits for this agent's row.  What is skipped, because a
          -- report or somebody else has locked it, keeps the claim's deadline: too short for an agent that never acknowledges.
          and (a.dialect = 'silent' or c.command_id = any(array(
            select l.command_id
            from agent_commands l
            where l.command_id = any(taken_ids)
              and l.status = 'sent'
            for no key update skip locked)))
          and c.moves = posted.moves
          and c.epoch = a.epoch  -- over an older connection it keeps the deadline that `connect` gave it
          and c.status = 'sent';
    end if;
    if cardinality(unsendable_ids) > 0 then
        update agent_commands c
        set status = 'failed',
            moves = c.moves + 1,
            error_message = concat_ws('; the agent reported: ', too_large.cause, c.agent_error),
            cause = too_large.cause,
            completed_at = clock_timestamp(),
            ack_deadline = null
        from unnest(unsendable_ids, unsendable_moves, unsendable_causes) as too_large (command_id, moves, cause)
        where c.command_id = too_large.command_id
          and c.moves = too_large.moves
          and c.status = 'sent';
    end if;
    if cardinality(unsent_ids) > 0 then
        perform {f}.end_attempts(
            unsent_ids, unsent_moves, array_fill(unsent_cause, array[cardinality(unsent_ids)]), false);
    end if;
    if cardinality(unsent_ids || unsendable_ids) > 0 then
        -- An agent that got nothing is not mute.
        update agents a
        set commanded_at = null
        where a.agent_id = p_agent_id
          and a.epoch = p_epoch
          and not a.spoke
          and not exists (
            select
            from agent_commands c
            where c.agent_id = p_agent_id
              and c.status = 'sent'
              and c.epoch = p_epoch);
    end if;
    if cardinality(told_ids) > 0 then
        update agent_commands c
        set stop_epoch = p_epoch,
            stop_wanted = c.status <> 'cancelled'
        -- As above.  What is skipped is told again, if it has no end by then.
        where c.command_id = any(array(
            select l.command_id
            from agent_commands l
            where l.command_id = any(told_ids)
              and l.stop_wanted
            for no key update skip locked));
    end if;
    if look_again then
        return query select * from {f}.claim(p_agent_id, p_token);
    end if;
end $$;
