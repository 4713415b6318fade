-- Nobody looks for an entry of a list by its number alone, but for the trigger, which knows the time as well.
create or replace function agent_commands_record_delete() returns trigger language plpgsql as $$
declare
    removed_rows bigint := (select count(*) from removed);
    unlisted bigint;
begin
    delete from command_list
    where ctid = any(array(
        select l.ctid
        from removed r
        cross join lateral (
            select l.ctid from command_list l where l.created_at = r.created_at and l.seq = r.seq offset 0) as l));
    get diagnostics unlisted = row_count;
    if unlisted < removed_rows then
        -- Somebody has changed the time of a command by hand; the list has the old one.
        delete from command_list l
        using removed r
        where l.agent_id = r.agent_id
          and l.seq = r.seq;
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
alter table command_list drop constraint command_list_pkey;
