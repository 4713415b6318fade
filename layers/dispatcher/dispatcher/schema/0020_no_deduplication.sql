-- Less work for each row of an index.  No two commands have the same key in these indexes, because each key ends with a number,
-- an id or a moment of its own.  So a search for equal keys finds nothing, and a full page is split without it.
alter index agent_commands_due set (deduplicate_items = off);
alter index agent_commands_listed_by_time set (deduplicate_items = off);
alter index command_list_time set (deduplicate_items = off);
alter index command_list_agent set (deduplicate_items = off);
alter index command_list_action set (deduplicate_items = off);
alter index command_list_submitter set (deduplicate_items = off);
alter index command_history_command set (deduplicate_items = off);
alter index command_history_feed set (deduplicate_items = off);
alter index audit_log_agent set (deduplicate_items = off);
alter index audit_log_actor set (deduplicate_items = off);
alter index audit_log_command set (deduplicate_items = off);
