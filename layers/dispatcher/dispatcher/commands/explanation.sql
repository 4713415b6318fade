-- Everything that can delay a command: the command, its agent, the commands in flight, and the commands before it.
select
    c.status,
    c.cause,
    c.error_message,
    c.attempt,
    c.max_attempts,
    c.sent_at,
    c.acknowledged_at,
    c.completed_at,
    c.ack_deadline,
    c.execution_deadline,
    c.not_before,
    c.cancel_requested_at,
    c.stop_wanted,
    c.stop_epoch,
    c.retry_at,
    c.retry_at > now() as paced,
    c.incarnation is distinct from a.incarnation and c.incarnation is not null as of_earlier_agent,
    a.dialect,
    a.refusals,
    a.refused_since,
    {f}.is_mute(a) as mute,
    c.not_before > now() as early,
    c.deliver_by <= now() as late,
    c.agent_id,
    a.agent_id is not null as known,
    a.approval,
    a.deleted_at,
    a.connection_id,
    a.last_seen_at,
    a.throttled_until,
    a.throttled_until > now() as throttled,
    a.lease_expires_at > now() as leased,
    in_flight.first_id as in_flight,
    in_flight.number >= case a.dialect when 'silent' then 1 else a.delivery_window end as window_full,
    before.first_id as first,
    before.number as ahead
from agent_commands c
left join agents a using (agent_id)
left join lateral (
    select (array_agg(f.command_id order by f.sent_at, f.seq))[1] as first_id, count(*) as number
    from agent_commands f
    where f.agent_id = c.agent_id
      and f.status = 'sent'
      and (a.dialect <> 'silent' or f.session_id is not distinct from c.session_id)
) as in_flight on true
left join lateral (
    select (array_agg(q.command_id order by q.priority desc, q.seq))[1] as first_id, count(*) as number
    from (
        select f.command_id, f.priority, f.seq
        from agent_commands f
        where f.agent_id = c.agent_id
          and f.status = 'pending'
          and {f}.is_due(f, a.incarnation)
          and (f.priority, -f.seq) > (c.priority, -c.seq)
        order by f.priority desc, f.seq
        limit %(most)s) as q
) as before on true
where c.command_id = %(command_id)s
