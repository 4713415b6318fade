-- A page of the feed, forwards from a place or backwards to it, and how far it was read.  Each row: `life` and what is known of
-- the cursor's life; the last event that was scanned, null if there is none; an event that matches, null if there is none.
with scanned as materialized (
    select *
    from (
        (
            select
                h.position,
                h.history_id as number,
                h.at,
                'command.' || case when h.from_status is null and h.to_status = 'pending' then 'accepted' else h.to_status end
                    as type,
                h.command_id,
                h.to_status as status,
                h.attempt,
                h.cause,
                null::text as agent_id,
                null::bigint as incarnation
            from command_history h
            where %(of_commands)s
              and (h.position, h.history_id) {beyond} (%(position)s, %(number)s)
              and h.position < feed_horizon()
            order by h.position {direction}, h.history_id {direction}
            limit %(scan)s
        )
        union all
        (
            select e.position, e.number, e.at, 'agent.' || e.type, null, null, null, e.cause, e.agent_id, e.incarnation
            from agent_events e
            where (e.position, e.number) {beyond} (%(position)s, %(number)s)
              and e.position < feed_horizon()
            order by e.position {direction}, e.number {direction}
            limit %(scan)s
        )
    ) as events
    order by position {direction}, number {direction}
    limit %(scan)s
), matching as (
    select s.position, s.number, s.at, s.type, c.agent_id, s.command_id, c.action, s.status, s.attempt, s.cause,
        c.correlation_id
    from scanned s
    -- One look-up for each event, whatever the statistics say: hence the offset.
    left join lateral (
        select * from agent_commands k where k.command_id = s.command_id offset 0) as k on true
    cross join lateral (select
        coalesce(s.agent_id, k.agent_id) as agent_id,
        case when s.agent_id is null then k.incarnation else s.incarnation end as incarnation,
        left(k.action, 256) as action,
        k.correlation_id) as c
    where s.type = any(%(types)s)
      and c.agent_id is not null
      and (%(agent_id)s::text is null or c.agent_id = %(agent_id)s)
      and {in_scope}
      and {selected}
    order by s.position {direction}, s.number {direction}
    limit %(limit)s
)
select
    f.life,
    l.life is not null as of_earlier_life,
    (l.last_position, l.last_number) < (%(position)s, %(number)s) as after_earlier_life,
    (f.pruned_position, f.pruned_number) > (%(position)s, %(number)s) as events_gone,
    feed_horizon() <= %(position)s as ahead,
    (select count(*) from scanned) as scanned,
    ended.position as last_position,
    ended.number as last_number,
    m.*
from feed f
left join feed_lives l on l.life = %(life)s
left join lateral (
    select position, number from scanned order by position {back}, number {back} limit 1) as ended on true
left join matching m on true
order by m.position, m.number
