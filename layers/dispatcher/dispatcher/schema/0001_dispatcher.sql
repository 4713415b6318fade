-- The tables.  Constraints carry the invariants, partial indexes serve each scan, and triggers keep the history complete,
-- whichever program writes.  Every time comes from this database.

-- A point in time that every client can decode: Python has neither 'infinity' nor the year 10000.
create domain moment as timestamptz
    check (value >= '1970-01-01 00:00:00+00' and value < '9999-01-01 00:00:00+00');

-- ── Operators ────────────────────────────────────────────────────────────────────────────────────────────────────────────
create table operators (
    username      text primary key check (username <> ''),
    password_hash text not null,
    role          text not null check (role in ('reader', 'sender', 'admin')),
    created_at    moment not null default now()
);

-- ── Agents ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
create table agents (
    agent_id         text primary key check (agent_id <> ''),
    platform         text not null,
    region           text,
    labels           jsonb not null default '{}' check (jsonb_typeof(labels) = 'object'),
    capacity         jsonb,
    metadata         jsonb,
    approval         text not null default 'approved' check (approval in ('pending', 'approved', 'rejected')),
    created_at       moment not null default now(),
    registered_at    moment,
    deleted_at       moment,

    -- Presence.  The epoch counts the agent's connections; commands go to the connection that came last.
    epoch            bigint not null default 0,
    connection_id    text,
    live             boolean not null default false,   -- its handshake is over: from now on a 410 means gone, not "not yet"
    dialect          text not null default 'acknowledging' check (dialect in ('acknowledging', 'silent', 'batching')),
    delivery_window  integer not null default 1 check (delivery_window > 0),   -- how many commands may be unacknowledged
    connected_at     moment,
    last_seen_at     moment,
    active_sessions  integer,

    -- The lease: only the worker that holds it posts to this agent.
    lease_token      uuid,
    lease_expires_at moment,
    -- After a throttled post the whole queue waits, so that no command overtakes another.
    throttled_until  moment,

    check ((lease_token is null) = (lease_expires_at is null))
);
create index agents_connected on agents (agent_id) where connection_id is not null;

create table agent_keys (
    key_id     uuid primary key default gen_random_uuid(),
    agent_id   text not null references agents,
    key_hash   bytea not null unique check (octet_length(key_hash) = 32),
    created_at moment not null default now(),
    created_by text,
    revoked_at moment
);
create index agent_keys_agent on agent_keys (agent_id);

-- Every open connection, superseded ones too: a late result over an old connection still counts.
create table agent_connections (
    connection_id text primary key,
    agent_id      text not null references agents,
    epoch         bigint not null,
    source_ip     text,
    connected_at  moment not null default now(),
    unique (agent_id, epoch)
);

-- ── Sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
create table sessions (
    name            text primary key check (name <> ''),
    agent_id        text not null references agents,
    owner           text not null,
    template        text not null,
    resources       jsonb not null check (jsonb_typeof(resources) = 'object'),
    persistent_home boolean not null,
    state           text not null default 'pending' check (state in
        ('pending', 'running', 'stopping', 'hibernating', 'hibernated', 'waking', 'terminated', 'failed')),
    details         jsonb,
    created_at      moment not null default now(),
    updated_at      moment not null default now()
);
create index sessions_agent on sessions (agent_id);

-- ── Commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
-- The first eleven columns are those of StreamSpace's table, with the same meaning: inserting only command_id, agent_id,
-- action and payload submits a command.  There is no foreign key to agents on purpose: a command may be older than its
-- agent's registration, and it outlives the agent.
create table agent_commands (
    command_id         text primary key default 'cmd-' || replace(gen_random_uuid()::text, '-', '')
                       check (command_id <> ''),
    agent_id           text not null,
    session_id         text,
    action             text not null,
    payload            jsonb,
    status             text not null default 'pending' check (status in
        ('pending', 'sent', 'acknowledged', 'completed', 'failed', 'expired', 'cancelled', 'dead', 'timed_out')),
    error_message      text,
    created_at         moment not null default now(),
    sent_at            moment,
    acknowledged_at    moment,
    completed_at       moment,   -- when it ended, in whichever way

    seq                bigint not null generated always as identity,   -- the order of acceptance
    priority           smallint not null default 0 check (priority between -100 and 100),   -- higher goes first
    not_before         moment,
    deliver_by         moment,   -- until when it may wait for delivery
    execution_timeout  integer not null default 600 check (execution_timeout between 1 and 604800),   -- seconds, from the ack
    max_attempts       integer not null default 10 check (max_attempts between 1 and 1000),
    attempt            integer not null default 0 check (attempt between 0 and max_attempts),
    epoch              bigint,   -- of the connection that the last attempt went to
    ack_deadline       moment,
    execution_deadline moment,
    cancel_requested_at moment,
    result             jsonb,
    progress           jsonb,
    cause              text not null default 'accepted',   -- why it has this status; copied into the history
    submitted_by       text,
    idempotency_key    text,
    request_hash       bytea,
    redrive_of         text,

    check (status <> 'pending' or attempt < max_attempts),
    check (status <> 'sent' or (ack_deadline is not null and sent_at is not null)),
    check (status <> 'acknowledged' or execution_deadline is not null),
    check (idempotency_key is null or (submitted_by is not null and request_hash is not null)),
    unique (submitted_by, idempotency_key)
);
-- Delivered rows slow the scan for due rows until a vacuum.  With a million pending rows the default, a fifth of all rows,
-- would start a vacuum only after 200,000 deliveries.
alter table agent_commands set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 1000);

-- The claim: one agent's pending commands in the order of delivery.  No other index may start with the same order, or the
-- planner may walk through the commands of all other agents.
create index agent_commands_due on agent_commands (agent_id, priority desc, seq) where status = 'pending';
create index agent_commands_in_flight on agent_commands (agent_id, session_id) where status = 'sent';
create index agent_commands_acknowledged on agent_commands (agent_id) where status = 'acknowledged';
create index agent_commands_ack_due on agent_commands (ack_deadline) where status = 'sent';
create index agent_commands_executing on agent_commands (execution_deadline) where status = 'acknowledged';
-- Its own expression for the status, so that the sweep's query fits this index and no other (see 0003).
create index agent_commands_expiring on agent_commands (deliver_by) where ('' || status) = 'pending' and deliver_by is not null;
create index agent_commands_ended on agent_commands (completed_at) where completed_at is not null;
-- The lists that people read, likewise: no query of the delivery fits one of these indexes, and no list of one agent,
-- session or status can walk through all commands.
create index agent_commands_listed on agent_commands ((-seq));
create index agent_commands_listed_by_status on agent_commands (lower(status), seq);
create index agent_commands_listed_by_agent on agent_commands (('' || agent_id), seq);
create index agent_commands_listed_by_session on agent_commands (('' || session_id), seq) where session_id is not null;

create table command_history (
    history_id  bigint generated always as identity primary key,
    command_id  text not null,
    from_status text,
    to_status   text not null,
    attempt     integer not null,
    epoch       bigint,
    cause       text not null,
    at          moment not null default clock_timestamp()
);
create index command_history_command on command_history (command_id, history_id);

-- The frame that the agent gets.  It is built here, from what was accepted, and no other decoder touches it: numbers keep
-- their digits.  It has no timestamp: one agent wants an integer, another RFC 3339, and each drops frames with the other.
create function command_frame(command_id text, action text, payload jsonb) returns text
    language sql immutable parallel safe
    return jsonb_build_object('type', 'command', 'payload', jsonb_build_object(
        'commandId', command_id, 'action', action, 'payload', coalesce(payload, '{}')))::text;

-- The same as an entry of a batch, for agents of protocol 2.
create function command_entry(
    command_id text, attempt integer, action text, session_id text, payload jsonb, execution_timeout integer
) returns text
    language sql immutable parallel safe
    return jsonb_build_object(
        'commandId', command_id, 'attempt', attempt, 'action', action, 'sessionId', session_id,
        'payload', coalesce(payload, '{}'), 'executionTimeoutSeconds', execution_timeout)::text;

-- The bytes that a command takes of a message, in the protocol that takes more; our ids have 36 characters.
create function command_bytes(
    action text, session_id text, payload jsonb, execution_timeout integer, max_attempts integer
) returns integer
    language sql immutable parallel safe
    return greatest(
        octet_length(command_frame(repeat('x', 36), action, payload)),
        octet_length(command_entry(repeat('x', 36), coalesce(max_attempts, 10), action, session_id, payload,
            coalesce(execution_timeout, 600))));

-- An insert, with psql too, may leave each column NULL: NULL means the default.  A row with an unknown status is set aside
-- here, with its reason, so that no reader ever sees one.
create function agent_commands_admit() returns trigger language plpgsql as $$
begin
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
create trigger agent_commands_admit before insert on agent_commands for each row execute function agent_commands_admit();

-- One history row for each transition, in the transaction of the transition.
create function agent_commands_record_insert() returns trigger language plpgsql as $$
begin
    insert into command_history (command_id, from_status, to_status, attempt, epoch, cause)
    select command_id, null, status, attempt, epoch, cause from added order by seq;
    return null;
end $$;
create trigger agent_commands_record_insert after insert on agent_commands
    referencing new table as added for each statement execute function agent_commands_record_insert();

-- How a change by hand is told from one of the dispatcher's own moves: see 0003, which replaces this function.
create function agent_commands_record_update() returns trigger language plpgsql as $$
begin
    insert into command_history (command_id, from_status, to_status, attempt, epoch, cause)
    select a.command_id, b.status, a.status, a.attempt, a.epoch,
           case when a.cause is distinct from b.cause then a.cause else 'changed by hand' end
    from after_update a join before_update b using (command_id)
    where a.status is distinct from b.status order by a.seq;
    return null;
end $$;
create trigger agent_commands_record_update after update on agent_commands
    referencing old table as before_update new table as after_update
    for each statement execute function agent_commands_record_update();
