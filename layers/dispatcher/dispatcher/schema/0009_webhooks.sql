-- Webhooks: who is told of events by HTTPS, how far each one has come, and what was tried.

create table webhooks (
    webhook_id       uuid primary key default gen_random_uuid(),
    position         bigint not null generated always as identity,   -- the order of the list
    url              text not null check (url <> ''),
    types            text[] check (cardinality(types) > 0),   -- null = every type
    selector         text check (selector <> ''),
    description      text,
    created_at       moment not null default now(),

    -- It has the rights that the operator who changed it last has now, and ends with the API tokens of that change.
    -- It never tells of more agents than the operator who made it could see then.
    labels           jsonb check (jsonb_typeof(labels) = 'object'),
    username         text not null references operators,
    made_with        uuid[] not null default '{}',
    expires_at       moment,

    -- The secrets are not here: each is computed from its id and a key that the database does not have.
    secret_id        uuid not null default gen_random_uuid(),
    old_secret_id    uuid,
    old_secret_until moment,

    cursor           text not null,   -- every event up to here was delivered, or was not for it
    waiting_since    moment,          -- of the oldest event that is known to wait
    due_at           moment not null default now(),
    failures         integer not null default 0 check (failures >= 0),   -- tries of the next event that failed
    failing_since    moment,
    slow             boolean not null default false,   -- the last try failed, or took long
    disabled_at      moment,
    disabled_cause   text check (disabled_cause in ('operator', 'gone', 'failing', 'rights', 'lost', 'invalid')),

    -- The lease: only its holder sends.
    lease_token      uuid,
    lease_expires_at moment,

    check ((old_secret_id is null) = (old_secret_until is null)),
    check ((failures = 0) = (failing_since is null)),
    check ((disabled_at is null) = (disabled_cause is null)),
    check ((lease_token is null) = (lease_expires_at is null))
);
create index webhooks_due on webhooks (due_at) where disabled_at is null;

create table webhook_deliveries (
    delivery_id  bigint generated always as identity primary key,
    webhook_id   uuid not null references webhooks on delete cascade,
    message_id   text not null,   -- the header webhook-id
    event_id     text,            -- null: a test call
    type         text not null,
    agent_id     text,
    attempt      integer not null check (attempt > 0),
    at           moment not null default clock_timestamp(),
    milliseconds integer not null check (milliseconds >= 0),
    status       integer,   -- null: there was no answer
    error        text       -- null: it was delivered
);
create index webhook_deliveries_webhook on webhook_deliveries (webhook_id, delivery_id);
create index webhook_deliveries_at on webhook_deliveries (at);
