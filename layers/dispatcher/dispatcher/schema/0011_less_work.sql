-- Less work for each move of a command, with the same promises.

-- A submission gives every column its value.  What it leaves NULL is `moves` only in an insert by hand: there the trigger does it.
alter table agent_commands alter moves drop default;
drop trigger agent_commands_admit on agent_commands;
create trigger agent_commands_admit before insert on agent_commands
    for each row when (new.moves is null)
    execute function agent_commands_admit();
