-- Nobody looks for an entry of a list by its number alone, but for the trigger, which knows the time as well.
create or replace function agent_commands_record_delete() returns trigger language plpgsql as $$
begin
    -- Each row is looked for by itself: one whose time was changed by hand stands in the list under its old time.  A look by
    -- agent reads all that the agent has in the list.
    delete from command_list
    where ctid = any(array(
        select coalesce(exact.ctid, changed.ctid)
        from removed r
        left join lateral (
            select l.ctid
            from command_list l
            where l.created_at = r.created_at
              and l.seq = r.seq
              and l.command_id = r.command_id
            offset 0) as exact on true
        left join lateral (
            select l.ctid
            from command_list l
            where exact.ctid is null
              and l.agent_id = r.agent_id
              and l.command_id = r.command_id
            offset 0) as changed on true));
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
