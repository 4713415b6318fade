-- Rights that end: a token ends with the rights of the operator who made it, and log-in attempts have budgets.

-- Every token that was issued before this moment is refused.  The operators of before keep their tokens.
alter table operators add valid_after moment not null default '1970-01-01 00:00:00+00';
alter table operators alter valid_after set default now();

-- The API token that made a token, the one that made that one, and so on: a token is valid only while all of them are.
alter table api_tokens add made_with uuid[] not null default '{}';
alter table api_tokens add position bigint not null generated always as identity;   -- the order of the list
alter table enrolment_tokens add made_with uuid[] not null default '{}';
alter table enrolment_tokens add position bigint not null generated always as identity;
alter table enrolment_tokens add revoked_at moment;
-- Whether the agent that used the token may use it again, for the same key, until the token expires.
alter table enrolment_tokens add reusable boolean not null default false;

alter table agent_keys add position bigint not null generated always as identity;
-- A key from an enrolment is computed from the token, which is not stored, and this salt: the agent that asks again with its
-- token gets the same key, and neither the token alone nor the table alone gives it.
alter table agent_keys add enrolled_with uuid references enrolment_tokens;
alter table agent_keys add enrolment_salt bytea;
alter table agent_keys add check ((enrolled_with is null) = (enrolment_salt is null));
create index agent_keys_enrolment on agent_keys (enrolled_with) where enrolled_with is not null;

-- Failed log-ins: of a name, from an address (of IPv6 its /64), and of a name from an address.
-- It replaces login_failures, which older code still writes during a deployment.
create table login_budgets (
    budget       text not null check (budget in ('address', 'name', 'pair')),
    subject      text not null,
    level        double precision not null default 0 check (level >= 0),   -- failures that still count
    last_at      moment not null default now(),   -- of the last failure
    succeeded_at moment,   -- of the last log-in that succeeded; only of a name from an address
    primary key (budget, subject)
);
create index login_budgets_old on login_budgets (last_at);

-- With which API token the actor acted.
alter table audit_log add token_id uuid;
create trigger audit_log_keep_all before truncate on audit_log
    for each statement execute function audit_log_keep();
