-- A deleted agent's id can be created again: each time is a new incarnation.
alter table agents add incarnation bigint not null default 1;

-- A command may name its session only in its payload.
create function agent_commands_name_session() returns trigger language plpgsql as $$
begin
    if new.session_id is null
        and jsonb_typeof(new.payload -> 'sessionId') = 'string'
        and octet_length(new.payload ->> 'sessionId') between 1 and 256
    then
        new.session_id := new.payload ->> 'sessionId';
    end if;
    return new;
end $$;
create trigger agent_commands_name_session before insert on agent_commands
    for each row execute function agent_commands_name_session();
