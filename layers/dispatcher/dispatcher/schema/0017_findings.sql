-- What the loss check has found, so that an alarm can tell a new finding from one that is known.  It is written only while an
-- invariant is broken.
create table findings (
    check_name text not null,
    command_id text not null,
    found_at   moment not null default now(),
    seen_at    moment not null default now(),
    primary key (check_name, command_id)
);
