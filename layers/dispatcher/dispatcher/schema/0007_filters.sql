-- A fleet that can be asked: lists with filters, labels that change, facts that agents report, and figures for the overview.

-- ── Agents ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
-- What an agent says of itself.  Labels are the operators'; facts are the agent's.
alter table agents add facts jsonb not null default '{}' check (jsonb_typeof(facts) = 'object');
-- For label selectors.
create index agents_labels on agents using gin (labels);

-- ── Lists of commands ────────────────────────────────────────────────────────────────────────────────────────────────────
-- What never changes of a command and what people filter by.  This table is written once for each command, so its indexes cost
-- no move of a command.  Lists are ordered by the time of acceptance; commands of the same moment by `seq`.
drop index command_list_agent, command_list_session;
truncate command_list;
alter table command_list
    add action text not null,
    add submitted_by text,
    add created_at timestamptz not null,
    add redrive_of text;
insert into command_list (seq, command_id, agent_id, session_id, action, submitted_by, created_at, incarnation, redrive_of)
select seq, command_id, agent_id, session_id, action, submitted_by, created_at, incarnation, redrive_of from agent_commands;
create index command_list_time on command_list (created_at, seq);
create index command_list_agent on command_list (agent_id, created_at, seq);
create index command_list_session on command_list (session_id, created_at, seq) where session_id is not null;
create index command_list_action on command_list (action, created_at, seq);
create index command_list_submitter on command_list (submitted_by, created_at, seq) where submitted_by is not null;
create index command_list_redrives on command_list (redrive_of) where redrive_of is not null;

create or replace function agent_commands_record_insert() returns trigger language plpgsql as $$
begin
    insert into command_list
        (seq, command_id, agent_id, session_id, action, submitted_by, created_at, incarnation, redrive_of)
    select seq, command_id, agent_id, session_id, action, submitted_by, created_at, incarnation, redrive_of from added;
    insert into command_history (command_id, from_status, to_status, attempt, epoch, cause)
    select command_id, null, status, attempt, epoch, cause from added order by seq;
    return null;
end $$;

-- The same order for the list of a status.  It takes the place of an index on (lower(status), seq): the table of commands has
-- as many indexes as before.
create index agent_commands_listed_by_time on agent_commands (lower(status), created_at, seq);
drop index agent_commands_listed_by_status;

-- ── Overview ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
-- The figures of GET /api/v1/overview, for each label limit that somebody asks with; null: without a limit.
create table overviews (
    overview_id  bigint generated always as identity primary key,
    labels       jsonb unique nulls not distinct check (jsonb_typeof(labels) = 'object'),
    -- Commands by status after the transitions until `rolled_until`; null: they must be counted.  Later transitions are in the
    -- history only, because a transaction may still add to them.
    counted      jsonb,
    rolled_until timestamptz not null default date_trunc('minute', now() - interval '30 seconds'),
    figures      jsonb not null default '{}',
    refreshed_at timestamptz,
    took         double precision not null default 0,   -- seconds of the last refresh
    asked_at     timestamptz not null default now()
);
-- Nobody writes commands during this migration, since the index above.
insert into overviews (labels, counted, rolled_until)
select null, coalesce(jsonb_object_agg(c.status, c.number), '{}'), clock_timestamp()
from (select status, count(*) as number from agent_commands group by status) as c;
-- Transitions of commands by minute, from the history.
create table overview_minutes (
    overview_id bigint not null references overviews on delete cascade,
    minute      timestamptz not null,
    accepted    integer not null,
    sent        integer not null,
    completed   integer not null,
    failed      integer not null,
    dead        integer not null,
    primary key (overview_id, minute)
);

-- How many commands were deleted, because with a command its history goes.
create table command_deletions (
    at       timestamptz not null default clock_timestamp(),
    agent_id text not null,
    status   text not null,
    number   integer not null
);
create index command_deletions_at on command_deletions (at);
create or replace function agent_commands_record_delete() returns trigger language plpgsql as $$
begin
    delete from command_list where seq = any(array(select seq from removed));
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

-- An agent with other labels, or another agent of the same id, brings its commands under other limits.
create function agents_moved() returns trigger language plpgsql as $$
begin
    update overviews
    set counted = null
    where labels is not null
      and (old.labels @> labels or new.labels @> labels)
      and (old.labels <> new.labels or old.incarnation <> new.incarnation);
    return null;
end $$;
create trigger agents_moved after update of labels, incarnation on agents for each row execute function agents_moved();
