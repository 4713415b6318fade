-- Less work for each statement that writes commands.  PostgreSQL reads the text of each check, and of each trigger's condition,
-- anew for each statement: these were half of what a short update cost.

-- What never changes after acceptance is checked where it is set: by the API, and here for changes by hand.
alter table agent_commands
    drop constraint agent_commands_command_id_check,
    drop constraint agent_commands_priority_check,
    drop constraint agent_commands_execution_timeout_check,
    drop constraint agent_commands_max_attempts_check,
    drop constraint agent_commands_check4;
create function agent_commands_acceptable() returns trigger language plpgsql as $$
declare
    wrong text := case
        when new.command_id = '' then 'command_id is empty'
        when new.priority not between -100 and 100 then 'priority is not from -100 to 100'
        when new.execution_timeout not between 1 and 604800 then 'execution_timeout is not from 1 second to 7 days'
        when new.max_attempts not between 1 and 1000 then 'max_attempts is not from 1 to 1000'
        when new.idempotency_key is not null and (new.submitted_by is null or new.request_hash is null)
            then 'idempotency_key needs submitted_by and request_hash'
    end;
begin
    if wrong is not null then
        raise exception '%', wrong using errcode = 'check_violation', table = 'agent_commands';
    end if;
    return new;
end $$;
-- Its name comes before that of agent_commands_admit, which gives NULLs their values; NULLs are acceptable.
create trigger agent_commands_acceptable before insert on agent_commands
    for each row when (new.moves is null)
    execute function agent_commands_acceptable();
-- After: a trigger before updates would lock each row once more, whatever its columns are.
create trigger agent_commands_stay_acceptable
    after update of command_id, priority, execution_timeout, max_attempts, idempotency_key, submitted_by, request_hash
    on agent_commands
    for each row execute function agent_commands_acceptable();

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
