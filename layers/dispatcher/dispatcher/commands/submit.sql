-- Insert a command and its audit entry.  No row if its agent, its size, the queue, the rate or its idempotency key forbids it.
with stored_payload as (
    -- A redriven command has the stored payload: through Python, null would become NULL and 1e400 a text.
    select case
        when %(redrive_of)s::text is null then %(payload)s::jsonb
        else (select o.payload from agent_commands o where o.command_id = %(redrive_of)s)
    end as payload
), waiting as (
    select count(*) as number
    from (
        select 1
        from agent_commands w
        where w.agent_id = %(agent_id)s
          and w.status = 'pending'
        order by w.priority desc, w.seq
        limit %(queue)s) as counted
), submitted as (
    select count(*) as number
    from (
        select 1
        from audit_log l
        where l.actor = %(actor)s
          and l.at > now() - interval '1 minute'
          and l.action = 'submit command'
        limit %(rate)s) as counted
), added as (
    insert into agent_commands (
        agent_id, action, payload, session_id, priority, not_before, deliver_by, execution_timeout, max_attempts,
        submitted_by, idempotency_key, request_hash, redrive_of)
    select
        a.agent_id,
        %(action)s,
        p.payload,
        %(session_id)s,
        %(priority)s::smallint,
        %(not_before)s::timestamptz,
        greatest(now(), %(not_before)s::timestamptz) + %(ttl_seconds)s::int * interval '1 second',
        %(execution_timeout)s::int,
        %(max_attempts)s::int,
        %(submitted_by)s,
        %(idempotency_key)s,
        %(request_hash)s::bytea,
        %(redrive_of)s
    from agents a, stored_payload p, waiting, submitted
    where a.agent_id = %(agent_id)s
      and a.deleted_at is null
      and {agent_in_scope}
      and command_bytes(
            %(action)s::text, %(session_id)s::text, p.payload, %(execution_timeout)s::int, %(max_attempts)s::int)
          <= %(command_bytes)s
      and waiting.number < %(queue)s
      and (%(rate)s = 0 or submitted.number < %(rate)s)
    on conflict (submitted_by, idempotency_key) do nothing
    returning {columns}
), recorded as (
    insert into audit_log (actor, source_ip, action, agent_id, command_id, detail)
    select %(actor)s, %(source_ip)s, 'submit command', agent_id, command_id,
        jsonb_build_object('action', action, 'redriveOf', redrive_of)
    from added
)
select {columns} from added
