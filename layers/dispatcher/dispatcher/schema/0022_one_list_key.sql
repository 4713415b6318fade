-- One index entry less for each new command: the index of the lists' order is their table's key, too.
alter table command_list
    drop constraint command_list_pkey,
    add constraint command_list_order primary key using index command_list_order;

create or replace function agent_commands_record_delete() returns trigger language plpgsql as $$
declare
    delisted bigint;
begin
    delete from command_list l using removed r where l.created_at = r.created_at and l.seq = r.seq;
    get diagnostics delisted = row_count;
    if delisted < (select count(*) from removed) then
        -- Somebody has changed the time of a command by hand.
        delete from command_list where seq = any(array(select seq from removed));
    end if;
    insert into command_deletions (agent_id, status, number)
    select agent_id, status, count(*) from removed group by agent_id, status;
    insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, by_hand)
    select command_id, status, 'deleted', attempt, epoch, 'deleted by hand', true
    from removed
    where completed_at is null
       or completed_at > now() - interval '1 day';
    if found then
        -- Without the command nobody knows whose limit its history belongs to.
        update overviews set counted = null where labels is not null;
    end if;
    return null;
end $$;
