-- The change feed: one order of all events, in which none is skipped.  The history of commands is a part of its storage, so a
-- transition is written once.

-- ── Order ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
-- An event has a position, which is the id of its transaction, and a number.  Events are read in the order (position, number), and
-- only below the position of the oldest transaction that still writes: nothing can be added there any more.
--
-- A transaction may get its id, wait for a row that a later transaction has locked, and write after that one.  So an event takes
-- the position of the event before it, of the same command or agent, if that is higher.

-- A database that was restored into another server counts its transactions anew.  `feed_begin_life` replaces the 0, so that
-- positions grow on.
create function feed_position(transaction xid8) returns bigint language sql immutable parallel safe
    return transaction::text::bigint + 0;
-- Below this position all events are known.
create function feed_horizon() returns bigint language sql stable parallel safe
    return feed_position(pg_snapshot_xmin(pg_current_snapshot()));
-- Whether a later transaction has ended, so that it may have written before this one.
create function feed_overtaken() returns boolean language sql stable parallel safe
    return pg_snapshot_xmax(pg_current_snapshot()) > pg_current_xact_id();

-- ── Commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
alter table command_history add position bigint not null default 0;
alter table command_history alter position set default feed_position(pg_current_xact_id());
create index command_history_feed on command_history (position, history_id);

-- Not in SQL, so that it is no part of the plan of each transition: it is seldom called.
create function feed_position_after(of_command text, own bigint) returns bigint language plpgsql stable as $$
begin
    return greatest(own, (
        select h.position from command_history h where h.command_id = of_command order by h.history_id desc limit 1));
end $$;

create or replace function agent_commands_record_update() returns trigger language plpgsql as $$
declare
    own constant bigint := feed_position(pg_current_xact_id());
    overtaken constant boolean := feed_overtaken();
begin
    insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, by_hand, position)
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
        a.moves = b.moves,
        case when overtaken then feed_position_after(a.command_id, own) else own end
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

-- ── Agents ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
create table agent_events (
    position    bigint not null,
    number      bigint not null default nextval('command_history_history_id_seq'),   -- one count of all events
    agent_id    text not null,
    incarnation bigint not null,
    type        text not null check (type in
        ('created', 'deleted', 'approved', 'rejected', 'connected', 'disconnected', 'offline')),
    cause       text,
    at          timestamptz not null default clock_timestamp(),
    primary key (position, number)
);
create index agent_events_agent on agent_events (agent_id, number);
create index agent_events_offline on agent_events (at) where type = 'offline';

create function agent_event(agent_id text, incarnation bigint, type text, cause text) returns void language sql
begin atomic
    insert into agent_events (position, agent_id, incarnation, type, cause)
    values (
        greatest(feed_position(pg_current_xact_id()), (
            select e.position from agent_events e where e.agent_id = $1 order by e.number desc limit 1)),
        $1, $2, $3, $4);
end;

create function agents_record_event() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' or new.incarnation <> old.incarnation then
        perform agent_event(new.agent_id, new.incarnation, 'created', null);
    elsif new.deleted_at is not null and old.deleted_at is null then
        perform agent_event(new.agent_id, new.incarnation, 'deleted', null);
    elsif new.approval in ('approved', 'rejected') and new.approval <> old.approval and new.deleted_at is null then
        perform agent_event(new.agent_id, new.incarnation, new.approval, null);
    end if;
    if new.deleted_at is not null then
        null;
    elsif new.connection_id is not null and (
        tg_op = 'INSERT' or old.connection_id is null or new.epoch <> old.epoch)
    then
        perform agent_event(new.agent_id, new.incarnation, 'connected', null);
    elsif tg_op = 'UPDATE' and old.connection_id is not null and new.connection_id is null then
        perform agent_event(new.agent_id, new.incarnation, 'disconnected', null);
    end if;
    return null;
end $$;
create trigger agents_record_insert after insert on agents for each row execute function agents_record_event();
-- The condition stands here, so that a sign of life or a lease costs no call.
create trigger agents_record_update after update of connection_id, epoch, approval, deleted_at, incarnation on agents
    for each row when (
        old.epoch <> new.epoch
        or old.connection_id is distinct from new.connection_id
        or old.approval <> new.approval
        or old.deleted_at is distinct from new.deleted_at
        or old.incarnation <> new.incarnation)
    execute function agents_record_event();

-- ── What is kept, and the lives of the feed ──────────────────────────────────────────────────────────────────────────────
create table feed (
    one             boolean primary key default true check (one),
    life            text not null,
    origin          text not null,   -- the server, the database and the table in which this life began
    -- Events up to this one were deleted, at least some of them.
    pruned_position bigint not null default 0,
    pruned_number   bigint not null default 0
);
-- Earlier lives, and the last event of each that is still known.
create table feed_lives (
    life          text primary key,
    last_position bigint not null,
    last_number   bigint not null
);

-- A restore makes this table anew, if not the server or the database.
create function feed_origin() returns text language plpgsql stable as $$
declare
    place constant text := (select d.oid from pg_database d where d.datname = current_database()) || '/' || 'feed'::regclass::oid;
begin
    return (select s.system_identifier from pg_control_system() s) || '/' || place;
exception when insufficient_privilege then
    return place;
end $$;

-- Begin a new life after a restore: a cursor that tells of events that were lost is refused, and positions grow on.  `migrate`
-- calls it.  A server that was restored to a point in time is the same server: then somebody calls it by hand.
create function feed_begin_life() returns text language plpgsql as $$
declare
    last record;
    begun text := substr(replace(gen_random_uuid()::text, '-', ''), 1, 12);
begin
    select e.position, e.number
    into last
    from (
        (select h.position, h.history_id as number from command_history h order by h.position desc, h.history_id desc limit 1)
        union all
        (select a.position, a.number from agent_events a order by a.position desc, a.number desc limit 1)) as e
    order by e.position desc, e.number desc
    limit 1;
    insert into feed_lives (life, last_position, last_number)
    select f.life, coalesce(last.position, 0), coalesce(last.number, 0) from feed f;
    insert into feed (life, origin)
    values (begun, feed_origin())
    on conflict (one) do update
    set life = excluded.life,
        origin = excluded.origin;
    if last.position >= feed_position(pg_current_xact_id()) then
        execute format(
            'create or replace function feed_position(transaction xid8) returns bigint language sql immutable parallel safe'
            ' return transaction::text::bigint + %s', last.position);
    end if;
    return begun;
end $$;
select feed_begin_life();

create function feed_record_pruning() returns trigger language plpgsql as $$
begin
    if tg_table_name = 'command_history' then
        update feed
        set pruned_position = last.position,
            pruned_number = last.history_id
        from (select p.position, p.history_id from pruned p order by p.position desc, p.history_id desc limit 1) as last
        where (pruned_position, pruned_number) < (last.position, last.history_id);
    else
        update feed
        set pruned_position = last.position,
            pruned_number = last.number
        from (select p.position, p.number from pruned p order by p.position desc, p.number desc limit 1) as last
        where (pruned_position, pruned_number) < (last.position, last.number);
    end if;
    return null;
end $$;
create trigger command_history_record_pruning after delete on command_history
    referencing old table as pruned for each statement execute function feed_record_pruning();
create trigger agent_events_record_pruning after delete on agent_events
    referencing old table as pruned for each statement execute function feed_record_pruning();

-- ── Readers ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
-- The requests that wait for events, so that there are never too many; an entry that was left behind ends by itself.
create table feed_waiters (
    slot       integer primary key,
    waits_until timestamptz not null
);

-- Programs of the service that pass the events on.  One at a time holds the lease.
create table sinks (
    name             text primary key,
    -- The last event that was passed on.
    life             text not null,
    position         bigint not null,
    number           bigint not null,
    lease_token      uuid,
    lease_expires_at timestamptz,
    ran_at           timestamptz not null default now(),
    error            text,   -- why the next events could not be passed on
    error_since      timestamptz,
    check ((lease_token is null) = (lease_expires_at is null)),
    check ((error is null) = (error_since is null))
);
