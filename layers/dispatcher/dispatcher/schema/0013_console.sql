-- Log-outs: a log-in's token is signed and not stored, so what is stored is that it ended.
-- A row is of no use once the token has expired; each log-out deletes those.
create table ended_log_ins (
    username   text not null,
    issued_at  double precision not null,   -- exactly as the token says
    expires_at moment not null,
    primary key (username, issued_at)
);
create index ended_log_ins_expired on ended_log_ins (expires_at);
