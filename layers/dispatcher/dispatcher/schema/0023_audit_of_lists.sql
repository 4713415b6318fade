-- no transaction
-- A list of commands has one entry in the audit log for each agent and action, with the ids of its commands, instead of one for
-- each command.
alter table audit_log add column if not exists command_ids text[];
-- The ids of one list end alike (see `submit_list`), so one small entry of an index finds it.
create index concurrently if not exists audit_log_list
    on audit_log (right(command_ids[1], 19)) where command_ids is not null;
