-- A deleted agent's id can be created again: each time is a new incarnation.
alter table agents add incarnation bigint not null default 1;

create or replace function agent_commands_admit() returns trigger language plpgsql as $$
begin
    -- A command may name its session only in its payload.
    if new.session_id is null
        and jsonb_typeof(new.payload -> 'sessionId') = 'string'
        and octet_length(new.payload ->> 'sessionId') between 1 and 256
    then
        new.session_id := new.payload ->> 'sessionId';
    end if;
    new.status := coalesce(new.status, 'pending');
    new.created_at := least(coalesce(new.created_at, now()), now());
    new.priority := coalesce(new.priority, 0);
    new.execution_timeout := coalesce(new.execution_timeout, 600);
    new.max_attempts := coalesce(new.max_attempts, 10);
    new.attempt := coalesce(new.attempt, 0);
    new.cause := coalesce(new.cause, 'accepted');
    if new.status not in ('pending', 'sent', 'acknowledged', 'completed', 'failed', 'expired', 'cancelled', 'dead', 'timed_out')
    then
        new.error_message := format('set aside: unknown status %s', to_json(new.status));
        new.cause := new.error_message;
        new.status := 'dead';
    end if;
    if new.status = 'sent' then
        new.sent_at := coalesce(new.sent_at, now());
        new.ack_deadline := coalesce(new.ack_deadline, now());
    elsif new.status = 'acknowledged' then
        new.execution_deadline := coalesce(new.execution_deadline, now() + new.execution_timeout * interval '1 second');
    elsif new.status <> 'pending' then
        new.completed_at := coalesce(new.completed_at, now());
    end if;
    return new;
end $$;
