-- Less work for each statement that writes commands.  PostgreSQL reads the text of each check, and of each trigger's condition,
-- anew for each statement: these were half of what a short update cost.

-- ── Checks ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
-- The engine's own moves are guarded by their conditions, and submissions by the API.  So only the status is checked in every
-- row.  The other rules are checked in what a person does with psql: an insert without `moves`, and an update that leaves
-- `moves` as it is.
alter table agent_commands
    drop constraint agent_commands_check,
    drop constraint agent_commands_check1,
    drop constraint agent_commands_check2,
    drop constraint agent_commands_check3,
    drop constraint agent_commands_check4,
    drop constraint agent_commands_command_id_check,
    drop constraint agent_commands_execution_timeout_check,
    drop constraint agent_commands_max_attempts_check,
    drop constraint agent_commands_priority_check;

-- True; raises check_violation with what is wrong.  In an insert (`moves` is null) NULLs stand for what agent_commands_admit
-- will replace them with, as the times that belong to a status.
create function agent_commands_sound(c agent_commands) returns boolean language plpgsql immutable as $$
declare
    most constant integer := coalesce(c.max_attempts, 10);
    flaw constant text := case
        when c.attempt not between 0 and most then 'attempt is not from 0 to max_attempts'
        when c.attempt = most and coalesce(c.status, 'pending') = 'pending' then 'it is pending and has no attempt left'
        when c.moves is not null and c.status = 'sent' and (c.ack_deadline is null or c.sent_at is null)
            then 'it was sent, and needs sent_at and ack_deadline'
        when c.moves is not null and c.status = 'acknowledged' and c.execution_deadline is null
            then 'it was acknowledged, and needs execution_deadline'
        when c.command_id = '' then 'command_id is empty'
        when c.priority not between -100 and 100 then 'priority is not from -100 to 100'
        when c.execution_timeout not between 1 and 604800 then 'execution_timeout is not from 1 second to 7 days'
        when most not between 1 and 1000 then 'max_attempts is not from 1 to 1000'
        when c.idempotency_key is not null and (c.submitted_by is null or c.request_hash is null)
            then 'idempotency_key needs submitted_by and request_hash'
    end;
begin
    if flaw is not null then
        raise exception 'command % is refused: %', c.command_id, flaw using errcode = 'check_violation';
    end if;
    return true;
end $$;

create function agent_commands_acceptable() returns trigger language plpgsql as $$
begin
    perform agent_commands_sound(new);
    return new;
end $$;
-- Its name comes before agent_commands_admit, which gives `moves` a value.
create trigger agent_commands_acceptable before insert on agent_commands
    for each row when (new.moves is null)
    execute function agent_commands_acceptable();

create or replace function agent_commands_record_update() returns trigger language plpgsql as $$
declare
    own constant bigint := feed_position(pg_current_xact_id());
    overtaken constant boolean := feed_overtaken();
begin
    insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, by_hand, position)
    select
        a.command_id,
        case when step = 2 and way.acknowledged then 'acknowledged' else b.status end,
        case when step = 1 then 'acknowledged' else a.status end,
        a.attempt,
        a.epoch,
        case
            when step = 1 then 'acknowledged by its agent'
            when a.cause is distinct from b.cause then a.cause  -- a change by hand may give a cause of its own
            else 'changed by hand'
        end,
        a.moves = b.moves,
        case when overtaken then feed_position_after(a.command_id, own) else own end as position
    from after_update a
    join before_update b using (seq)   -- an id that is changed by hand stays the same row
    -- An ack and an end that came in one message are one update, and two transitions, in this order.
    cross join lateral (select
        a.status in ('completed', 'failed')
        and b.status <> 'acknowledged'
        and a.acknowledged_at is distinct from b.acknowledged_at as acknowledged) as way
    cross join lateral generate_series(case when way.acknowledged then 1 else 2 end, 2) as step
    -- One expression, so that what does not change the status is checked, too.
    where case
        when a.moves = b.moves
            then agent_commands_sound(a) and a.status is distinct from b.status
        else a.status is distinct from b.status
    end;
    return null;
end $$;

-- ── Sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
-- The same conditions as before, as functions: they are called for commands with a session only.
create function session_begins(c agent_commands) returns boolean language plpgsql immutable as $$
begin
    return session_goal(c.action) is not null
        and c.status in ('pending', 'sent', 'acknowledged')
        and octet_length(c.session_id) between 1 and 256;
end $$;
create function session_ends(before agent_commands, c agent_commands) returns boolean language plpgsql immutable as $$
begin
    return session_goal(c.action) is not null
        and c.status is distinct from before.status
        and (c.status in ('completed', 'failed', 'expired', 'cancelled', 'dead', 'timed_out')
            or before.status not in ('pending', 'sent', 'acknowledged'));
end $$;
drop trigger session_command_begins on agent_commands;
create trigger session_command_begins after insert on agent_commands
    for each row when (new.session_id is not null and session_begins(new))
    execute function session_command_begins();
drop trigger session_command_ends on agent_commands;
create trigger session_command_ends after update on agent_commands
    for each row when (new.session_id is not null and session_ends(old, new))
    execute function session_command_ends();
