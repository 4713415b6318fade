-- ANALYZE reads a sample of 30,000 rows with all columns after each fiftieth part of a table has changed: a busy dispatcher spent
-- a seventh of PostgreSQL's time on it.  No query relies on it, because statistics may be older than an outage.  A tenth of
-- the sample will do.
do $$
declare
    c record;
begin
    for c in
        select attrelid::regclass as of_table, attname
        from pg_attribute
        where attrelid in (
            'agent_commands'::regclass, 'command_history'::regclass, 'command_list'::regclass, 'audit_log'::regclass)
          and attnum > 0
          and not attisdropped
    loop
        execute format('alter table %s alter column %I set statistics 10', c.of_table, c.attname);
    end loop;
end $$;
-- The largest number counts, also of what an index computes.
alter index agent_commands_listed_by_time alter column 1 set statistics 10;
alter index audit_log_list alter column 1 set statistics 10;
