-- Changes by hand are recorded, and the expressions that steer the planner have one place.

-- Each of the dispatcher's own moves counts here.  Where a status changes and this does not, somebody changed it by hand.
alter table agent_commands add moves integer not null default 0;
alter table command_history add by_hand boolean not null default false;
update command_history set by_hand = true where cause = 'changed by hand';

create or replace function agent_commands_record_update() returns trigger language plpgsql as $$
begin
    insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, by_hand)
    select
        a.command_id,
        b.status,
        a.status,
        a.attempt,
        a.epoch,
        -- A change by hand may give a cause of its own.
        case when a.cause is distinct from b.cause then a.cause else 'changed by hand' end,
        a.moves = b.moves
    from after_update a
    join before_update b using (command_id)
    where a.status is distinct from b.status
    order by a.seq;
    return null;
end $$;

-- A NULL in the new column means its default, as in every other column (see agent_commands_admit in 0001).
create function agent_commands_admit_moves() returns trigger language plpgsql as $$
begin
    new.moves := coalesce(new.moves, 0);
    return new;
end $$;
create trigger agent_commands_admit_moves before insert on agent_commands
    for each row execute function agent_commands_admit_moves();

-- The planner believes its statistics.  While they are older than an outage, it takes an index of pending commands for empty
-- and may walk a million of its entries to answer a query that has nothing to do with them.  So each of these queries has an
-- index of its own (0001), on an expression that no other query uses; then no other index fits.  Queries find the expressions
-- only in this view.  It shows the columns of today: a migration that adds a column to the table makes the view anew.
--   expiring_status   the deadlines: pending commands by deliver_by
--   listed_*          the lists that people read, and docker-agents' answers, which name only the session
create view commands_by_own_index as
select
    c.*,
    '' || c.status as expiring_status,
    -c.seq as listed_order,
    lower(c.status) as listed_status,
    '' || c.agent_id as listed_agent_id,
    '' || c.session_id as listed_session_id
from agent_commands c;
