-- Whether there are events after a place that can be read.  Requests that wait ask this several times a second.
create function {f}.has_more(after_position bigint, after_number bigint) returns boolean language plpgsql stable
set plan_cache_mode = force_generic_plan
as $$
begin
    return exists (
        select
        from command_history h
        where (h.position, h.history_id) > (after_position, after_number)
          and h.position < feed_horizon()
    ) or exists (
        select
        from agent_events e
        where (e.position, e.number) > (after_position, after_number)
          and e.position < feed_horizon());
end $$;
