-- Operators' rights, tokens, and the audit log.

-- An operator can be limited to the agents that carry all of these labels; null = no limit.
alter table operators add labels jsonb check (jsonb_typeof(labels) = 'object');
alter table operators add disabled_at moment;

-- Failed log-ins of a name from an address; after some of them the name must wait.
create table login_failures (
    username  text not null,
    source_ip text not null,
    failures  integer not null,
    last_at   moment not null,
    primary key (username, source_ip)
);
create index login_failures_old on login_failures (last_at);

-- API tokens act for an operator, with the operator's role and labels or less.  Only the hash is stored.
create table api_tokens (
    token_id   uuid primary key default gen_random_uuid(),
    username   text not null references operators,
    name       text not null check (name <> ''),
    token_hash bytea not null unique check (octet_length(token_hash) = 32),
    role       text not null check (role in ('reader', 'sender', 'admin')),
    created_at moment not null default now(),
    expires_at moment not null,
    revoked_at moment
);
create index api_tokens_operator on api_tokens (username);

-- Enrolment tokens: short-lived, counted, valid for one agent id or for all ids with a prefix.
create table enrolment_tokens (
    token_id   uuid primary key default gen_random_uuid(),
    token_hash bytea not null unique check (octet_length(token_hash) = 32),
    agent_id   text,
    prefix     text,
    labels     jsonb not null default '{}' check (jsonb_typeof(labels) = 'object'),
    approved   boolean not null,   -- whether agents that enrol with it need no approval
    uses_left  integer not null check (uses_left >= 0),
    created_by text not null,
    created_at moment not null default now(),
    expires_at moment not null,
    check ((agent_id is null) <> (prefix is null))
);

-- The key that opened the connection: revoking a key closes its connections, and no others.
alter table agent_connections add key_id uuid;
-- How many messages came over it in this minute; counted only where agents have a rate.
alter table agent_connections add minute moment;
alter table agent_connections add messages integer not null default 0;

-- Who did what to which agent and command, from where.  Rows are only ever added.
create table audit_log (
    audit_id   bigint generated always as identity primary key,
    at         moment not null default clock_timestamp(),
    actor      text not null,
    source_ip  text,
    action     text not null,
    agent_id   text,
    command_id text,
    detail     jsonb
);
create index audit_log_agent on audit_log (agent_id, audit_id) where agent_id is not null;
create index audit_log_actor on audit_log (actor, at);
create index audit_log_command on audit_log (command_id) where command_id is not null;

create function audit_log_keep() returns trigger language plpgsql as $$
begin
    raise exception 'the audit log is only ever added to' using errcode = 'insufficient_privilege';
end $$;
create trigger audit_log_keep before update or delete on audit_log
    for each statement execute function audit_log_keep();
