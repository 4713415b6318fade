-- Less work for each row of an index.  These tables grow at their end, and hardly any rows have the same key, because a key ends
-- with a number, an id or a moment.  So a search for equal keys finds next to nothing, and a full page is split without it.
alter index command_list_time set (deduplicate_items = off);
alter index command_list_agent set (deduplicate_items = off);
alter index command_list_action set (deduplicate_items = off);
alter index command_list_submitter set (deduplicate_items = off);
alter index command_history_command set (deduplicate_items = off);
alter index command_history_feed set (deduplicate_items = off);
alter index audit_log_agent set (deduplicate_items = off);
alter index audit_log_actor set (deduplicate_items = off);
alter index audit_log_command set (deduplicate_items = off);
