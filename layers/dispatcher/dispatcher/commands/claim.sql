-- Claim due commands that fit the window of the agent whose lease was just taken; no row if it was not taken.
-- An agent that never acknowledges names only the session in its answer, so it has one command in flight for each session.
-- The commands are named by an array, so that the planner looks each up by its key.
update agent_commands c
set status = 'sent',
    moves = c.moves + 1,
    attempt = c.attempt + 1,
    epoch = a.epoch,
    sent_at = clock_timestamp(),
    cause = 'claimed for attempt ' || c.attempt + 1,
    ack_deadline = clock_timestamp() + interval '1 second' * case
        when a.dialect = 'silent' then c.execution_timeout
        else least(%(ack_seconds)s * 2.0 ^ least(c.attempt, 16), %(ack_seconds_most)s) * (0.9 + 0.2 * random())
    end
from agents a
where a.agent_id = %(agent_id)s
  and a.lease_token = %(token)s
  and c.command_id = any(array(
    select due.command_id
    from agent_commands due
    where due.agent_id = a.agent_id
      and due.status = 'pending'
      and (due.not_before is null or due.not_before <= now())
      and (due.deliver_by is null or due.deliver_by > now())
      and (a.dialect <> 'silent' or not exists (
        select from agent_commands f
        where f.agent_id = a.agent_id
          and f.status = 'sent'
          and f.session_id is not distinct from due.session_id))
    order by due.priority desc, due.seq
    limit case
        when a.dialect = 'silent' then 1
        else greatest(0, a.delivery_window - (
            select count(*)
            from (
                select 1
                from agent_commands f
                where f.agent_id = a.agent_id
                  and f.status = 'sent'
                limit a.delivery_window) as in_flight))
    end
    for update of due skip locked))
returning
    c.command_id,
    c.attempt,
    case a.dialect
        when 'batching'
        then command_entry(c.command_id, c.attempt, c.action, c.session_id, c.payload, c.execution_timeout)
        else command_frame(c.command_id, c.action, c.payload)
    end as frame,
    extract(epoch from c.deliver_by - clock_timestamp())::float8 as seconds_left,
    c.priority,
    c.seq
