-- Less work for each move of a command: the hot statements write their history themselves.  A trigger for each statement, with
-- its two transition tables, was half of what a single report cost.

-- The number of moves that have their history from the statements that made them.  A move beyond it, and a change that is no
-- move (`moves` stays), is recorded by the triggers: a change with psql, a sweep, a cancel, and all of an older release.
alter table agent_commands add recorded integer;
-- The status before the last move that a hot statement recorded: RETURNING has only the new row.
alter table agent_commands add moved_from text;

-- PostgreSQL reads the text of a check anew for each statement.  So the status is checked where the other rules are (0014), and in
-- each move that a trigger records.
alter table agent_commands drop constraint agent_commands_status_check;
create function require_known_status(c agent_commands) returns boolean language plpgsql immutable as $$
begin
    if c.status not in ('pending', 'sent', 'acknowledged', 'completed', 'failed', 'expired', 'cancelled', 'dead', 'timed_out') then
        raise exception 'command % is refused: there is no such status', c.command_id using errcode = 'check_violation';
    end if;
    return true;
end $$;

-- ── The place of an event in the feed (0008) ────────────────────────────────────────────────────────────────────────────────
-- A statement that waited for a row does not see in its own snapshot what was written meanwhile.  These functions are volatile,
-- so each call has a snapshot of its own.
alter function feed_position_after(text, bigint) volatile;
create function feed_place(of_command text, overtaken boolean) returns bigint language sql volatile as $$
    select case
        when overtaken then feed_position_after(of_command, feed_position(pg_current_xact_id()))
        else feed_position(pg_current_xact_id())
    end
$$;
-- `feed_overtaken`, asked once all rows of a statement are written: to count them for the argument, PostgreSQL writes them first.
create function feed_overtaken_after(rows_written bigint) returns boolean language plpgsql volatile as $$
begin
    return feed_overtaken();
end $$;

-- ── Triggers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
-- As before, but a row that is inserted by hand, and leaves its columns to this trigger, does not say that its history is written.
create or replace function agent_commands_acceptable() returns trigger language plpgsql as $$
begin
    perform agent_commands_sound(new);
    new.recorded := null;
    return new;
end $$;

drop trigger agent_commands_record_insert on agent_commands;
create or replace function agent_commands_record_insert() returns trigger language plpgsql as $$
begin
    perform require_known_status(new);   -- agent_commands_admit has set aside what it found
    perform agent_commands_sound(new);
    insert into command_list
        (seq, command_id, agent_id, session_id, action, submitted_by, created_at, incarnation, redrive_of)
    values
        (new.seq, new.command_id, new.agent_id, new.session_id, new.action, new.submitted_by, new.created_at, new.incarnation,
         new.redrive_of);
    insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, position)
    values (new.command_id, null, new.status, new.attempt, new.epoch, new.cause, feed_position(pg_current_xact_id()));
    return null;
end $$;
create trigger agent_commands_record_insert after insert on agent_commands
    -- The own statements insert what has not moved, and do not set the time.  All else comes from elsewhere: rows that somebody
    -- saved, and copies of others.
    for each row when (
        new.recorded is distinct from 0 or new.moves <> 0 or new.status <> 'pending' or new.created_at <> now())
    execute function agent_commands_record_insert();

drop trigger agent_commands_record_update on agent_commands;
create or replace function agent_commands_record_update() returns trigger language plpgsql as $$
declare
    by_hand constant boolean := new.moves <> old.moves + 1;
    place bigint;
    reached text := old.status;
begin
    perform require_known_status(new);
    if by_hand then
        perform agent_commands_sound(new);
    end if;
    if new.recorded > new.moves then
        -- Or the move that comes to this number would be recorded twice.
        update agent_commands set recorded = null where command_id = new.command_id;
    end if;
    if new.status is not distinct from old.status then
        return null;
    end if;
    place := feed_place(new.command_id, feed_overtaken());
    -- An ack and an end that came in one message are one update, and two transitions, in this order.
    if new.status in ('completed', 'failed') and old.status <> 'acknowledged'
        and new.acknowledged_at is distinct from old.acknowledged_at
    then
        reached := 'acknowledged';
        insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, by_hand, position)
        values (new.command_id, old.status, reached, new.attempt, new.epoch, 'acknowledged by its agent', by_hand, place);
    end if;
    insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, by_hand, position)
    values (
        new.command_id, reached, new.status, new.attempt, new.epoch,
        -- A change by hand may give a cause of its own.
        case when new.cause is distinct from old.cause then new.cause else 'changed by hand' end,
        by_hand, place);
    return null;
end $$;
create trigger agent_commands_record_update after update on agent_commands
    for each row when (
        new.recorded is distinct from new.moves or new.moves <> old.moves + 1 or new.recorded = old.recorded)
    execute function agent_commands_record_update();
