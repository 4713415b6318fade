-- no transaction
-- Few commands have an idempotency key, so only they are indexed.  The statements of version 0.2.0 name this condition already;
-- those of 0.1.0 do not, and fail without the constraint.
create unique index concurrently if not exists agent_commands_idempotency_key
    on agent_commands (submitted_by, idempotency_key) where idempotency_key is not null;
alter table agent_commands drop constraint if exists agent_commands_submitted_by_idempotency_key_key;
