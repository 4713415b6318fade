-- no transaction
-- The order of lists becomes the key of their table (see 0022).
create unique index concurrently if not exists command_list_order on command_list (created_at, seq) with (deduplicate_items = off);
drop index concurrently if exists command_list_time;
