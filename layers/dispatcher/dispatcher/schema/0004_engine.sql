-- What the delivery engine needs to count only attempts that may have reached an agent, to keep a cancel until it is heard, and
-- to tell an agent from an earlier one of the same id.  Every new column is for both versions of the functions: the older ones
-- leave it as it is.

-- ── Agents ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
alter table agents
    -- Counts the agents that had this id: an id that is created again is another agent.
    add incarnation bigint not null default 1,
    -- The current connection: when it was first sent a command, and whether it has said anything.
    add commanded_at timestamptz,
    add spoke boolean not null default true,
    -- Connections in a row that were sent a command, said nothing and ended.
    add mute_connections integer not null default 0,
    -- Posts in a row that the gateway refused.
    add refusals integer not null default 0,
    add refused_since timestamptz,
    -- Since when one of its next commands has been locked by somebody.
    add held_up_since timestamptz,
    -- Messages of this minute; counted only where agents have a rate.
    add minute timestamptz,
    add messages integer not null default 0;
create index agents_refused on agents (agent_id) where refusals > 0;

-- A connection that has ended stays for a while: what was said over it may be settled later.
alter table agent_connections add closed_at timestamptz;
-- The last messages that named only a session: settled again, they would settle the session's next command.
alter table agent_connections add answered text[] not null default '{}';

-- ── Commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
alter table agent_commands
    add incarnation bigint,          -- of the agent that it was accepted for; null: for whichever agent has the id
    add retry_at timestamptz,        -- the next attempt comes no sooner
    add redeliver_after_ack boolean not null default false,
    add agent_error text,            -- the last error that the agent reported
    add answered_attempt integer,    -- the last attempt that its agent gave up: another follows, and nothing more is said of it
    add stop_wanted boolean not null default false,   -- the agent is to be told to stop it
    add stop_epoch bigint,           -- of the connection over which the agent was told
    add cancel_confirmed boolean not null default false;
-- Ids grow with time, so that new rows share the pages of the index of ids.  122 random bits become 80.
alter table agent_commands alter command_id set default
    'cmd-' || lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
    || substr(replace(gen_random_uuid()::text, '-', ''), 13);
create index agent_commands_to_stop on agent_commands (agent_id) where stop_wanted;

-- Every move writes to each index of its row, and each statement opens all of them: so the hot table has few.  One index for
-- what is under way at an agent, one for its deadlines.  The lists that people read have a table of their own, which is only
-- written when a command is accepted or deleted.
create index agent_commands_under_way on agent_commands (agent_id, status, session_id) where status in ('sent', 'acknowledged');
create index agent_commands_overdue on agent_commands (ack_deadline, execution_deadline) where status in ('sent', 'acknowledged');
drop index agent_commands_in_flight, agent_commands_acknowledged, agent_commands_ack_due, agent_commands_executing;
create table command_list (
    seq         bigint primary key,
    command_id  text not null,
    agent_id    text not null,
    session_id  text,
    incarnation bigint
);
insert into command_list (seq, command_id, agent_id, session_id)
select seq, command_id, agent_id, session_id from agent_commands;
create index command_list_agent on command_list (agent_id, seq);
create index command_list_session on command_list (session_id, seq) where session_id is not null;
drop index agent_commands_listed, agent_commands_listed_by_agent, agent_commands_listed_by_session;

create or replace function agent_commands_admit() returns trigger language plpgsql as $$
begin
    new.status := coalesce(new.status, 'pending');
    new.created_at := least(coalesce(new.created_at, now()), now());
    new.priority := coalesce(new.priority, 0);
    new.execution_timeout := coalesce(new.execution_timeout, 600);
    new.max_attempts := coalesce(new.max_attempts, 10);
    new.attempt := coalesce(new.attempt, 0);
    new.cause := coalesce(new.cause, 'accepted');
    new.moves := coalesce(new.moves, 0);
    new.redeliver_after_ack := coalesce(new.redeliver_after_ack, false);
    new.stop_wanted := coalesce(new.stop_wanted, false);
    new.cancel_confirmed := coalesce(new.cancel_confirmed, false);
    if new.session_id is null
        and jsonb_typeof(new.payload -> 'sessionId') = 'string'
        and octet_length(new.payload ->> 'sessionId') between 1 and 256
    then
        new.session_id := new.payload ->> 'sessionId';
    end if;
    -- Submissions name it; an insert with psql is for the agent that has the id now.
    if new.incarnation is null then
        select a.incarnation into new.incarnation from agents a where a.agent_id = new.agent_id and a.deleted_at is null;
    end if;
    if new.status = 'pending' then
        return new;
    end if;
    if new.status not in ('sent', 'acknowledged', 'completed', 'failed', 'expired', 'cancelled', 'dead', 'timed_out') then
        new.error_message := format('set aside: unknown status %s', to_json(new.status));
        new.cause := new.error_message;
        new.status := 'dead';
    end if;
    if new.status = 'sent' then
        new.sent_at := coalesce(new.sent_at, now());
        new.ack_deadline := coalesce(new.ack_deadline, now());
    elsif new.status = 'acknowledged' then
        new.execution_deadline := coalesce(new.execution_deadline, now() + new.execution_timeout * interval '1 second');
    else
        new.completed_at := coalesce(new.completed_at, now());
    end if;
    return new;
end $$;
drop trigger agent_commands_admit_moves on agent_commands;
drop function agent_commands_admit_moves();

-- ── History ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
-- Rows are read by command, or by time.  Nothing refers to the number of a row.
alter table command_history drop constraint command_history_pkey;
create index command_history_at on command_history using brin (at) with (pages_per_range = 16, autosummarize = on);
create index command_history_deleted on command_history (at) where to_status = 'deleted';

create or replace function agent_commands_record_update() returns trigger language plpgsql as $$
begin
    insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, by_hand)
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
        a.moves = b.moves
    from after_update a
    join before_update b using (command_id)
    -- An ack and an end that came in one message are one update, and two transitions, in this order.
    cross join lateral (select
        a.status in ('completed', 'failed')
        and b.status <> 'acknowledged'
        and a.acknowledged_at is distinct from b.acknowledged_at as acknowledged) as way
    cross join lateral generate_series(case when way.acknowledged then 1 else 2 end, 2) as step
    where a.status is distinct from b.status;
    return null;
end $$;

create or replace function agent_commands_record_insert() returns trigger language plpgsql as $$
begin
    insert into command_list (seq, command_id, agent_id, session_id, incarnation)
    select seq, command_id, agent_id, session_id, incarnation from added;
    insert into command_history (command_id, from_status, to_status, attempt, epoch, cause)
    select command_id, null, status, attempt, epoch, cause from added order by seq;
    return null;
end $$;

-- Only the sweep deletes commands, long after their end.  Any other deletion is recorded, and found by the loss check.
create function agent_commands_record_delete() returns trigger language plpgsql as $$
begin
    delete from command_list where seq = any(array(select seq from removed));
    insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, by_hand)
    select command_id, status, 'deleted', attempt, epoch, 'deleted by hand', true
    from removed
    where completed_at is null
       or completed_at > now() - interval '1 day';
    return null;
end $$;
create trigger agent_commands_record_delete after delete on agent_commands
    referencing old table as removed for each statement execute function agent_commands_record_delete();

-- ── Figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
-- Written by each sweep, so that GET /healthz reads one row.
create table figures (
    name  text primary key,
    value double precision not null,
    at    moment not null default now()
);

-- The view of 0003 with the columns of today.
drop view commands_by_own_index;
create view commands_by_own_index as
select
    c.*,
    '' || c.status as expiring_status,
    -c.seq as listed_order,
    lower(c.status) as listed_status,
    '' || c.agent_id as listed_agent_id,
    '' || c.session_id as listed_session_id
from agent_commands c;

-- The schemas with the functions of each release (see platform/functions.py).
create table engine_schemas (
    name    text primary key,
    used_at timestamptz not null default clock_timestamp()
);
