-- Accept commands, all or none, each with its audit entry.  Rows, in the order of the list:
--   accepted, or replayed: the commands.  `replayed`: the idempotency key was used for the same request before.
--   one of unknown_agent, unreadable, too_large, queue_full, rate_exceeded, key_reused: the first command that is refused.
--   `number` is the size of a command that is too large, or the place of one that is unreadable.
-- Neither an agent's row nor a queue is locked: a submission waits for nobody.  So parallel submissions may exceed the limit of
-- a queue by a few, and a command for an agent that is being deleted is told by its incarnation.
create function {f}.submit(
    commands jsonb, username text, actor text, source_ip text, scope jsonb, key text, hash bytea,
    queue integer, rate integer, most_bytes integer)
returns table (outcome text, number bigint, command agent_commands)
language plpgsql
as $$
#variable_conflict use_column
declare
    asked constant integer := jsonb_array_length(commands);
    added integer;
begin
    if key is not null then
        -- The first command has the key itself, so that the key of a list cannot be used for a single command either.
        return query
        select case when c.request_hash = hash then 'replayed' else 'key_reused' end, null::bigint, c
        from agent_commands c
        where c.submitted_by = username
          and c.idempotency_key = any(array(
            select case when n = 0 then key else key || e'\x1f' || n end from generate_series(0, asked - 1) as n))
        order by c.seq;
        if found then
            return;
        end if;
    end if;
    if rate > 0 then
        perform pg_advisory_xact_lock(hashtextextended('rate of ' || actor, 0));
        if asked + (
            select count(*)
            from (
                select
                from audit_log l
                where l.actor = submit.actor
                  and l.at > now() - interval '1 minute'
                  and l.action = 'submit command'
                limit rate) as counted) > rate
        then
            return query select 'rate_exceeded', null::bigint, null::agent_commands;
            return;
        end if;
    end if;
    return query
    with asked as materialized (
        select
            n.ordinality as place,
            n.agent_id,
            n.action,
            -- A redriven command has the stored payload.
            case when n.redrive_of is null then n.payload else o.payload end as payload,
            coalesce(n.session_id, case
                when jsonb_typeof(n.payload) = 'object' and jsonb_typeof(n.payload -> 'sessionId') = 'string'
                then nullif(n.payload ->> 'sessionId', '')
            end) as session_id,
            n.priority,
            n.not_before,
            n.ttl_seconds,
            n.execution_timeout,
            n.max_attempts,
            n.redeliver_after_ack,
            n.redrive_of
        from rows from (jsonb_to_recordset(commands) as (
            agent_id text, action text, payload jsonb, session_id text, priority smallint, not_before timestamptz,
            ttl_seconds integer, execution_timeout integer, max_attempts integer, redeliver_after_ack boolean,
            redrive_of text)) with ordinality as n
        left join agent_commands o on o.command_id = n.redrive_of
    ), queues as materialized (
        select q.agent_id, (
            select count(*)
            from (
                select
                from agent_commands w
                where w.agent_id = q.agent_id
                  and w.status = 'pending'
                order by w.priority desc, w.seq
                limit queue) as waiting) as waiting
        from (select distinct agent_id from asked) as q
    ), judged as materialized (
        select
            n.*,
            a.incarnation,
            size.bytes,
            case
                when a.agent_id is null then 'unknown_agent'
                -- StreamSpace's agents drop any other payload without a word; agents of protocol 2 read it.
                when a.platform in ('docker', 'kubernetes')
                    and a.dialect <> 'batching'
                    and (jsonb_typeof(n.payload) not in ('object', 'null')
                        or n.action in ('start_session', 'stop_session', 'hibernate_session', 'wake_session')
                        and n.payload ->> 'sessionId' !~ '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')
                then 'unreadable'
                when size.bytes > most_bytes then 'too_large'
                when q.waiting + row_number() over (partition by n.agent_id order by n.place) > queue then 'queue_full'
            end as problem
        from asked n
        join queues q on q.agent_id = n.agent_id
        left join agents a
            on a.agent_id = n.agent_id
            and a.deleted_at is null
            and (scope is null or a.labels @> scope)
        cross join lateral (select command_bytes(
            n.action, n.session_id, n.payload, n.execution_timeout, n.max_attempts)
            -- the time limit for the delivery is a part of the message
            + case when n.ttl_seconds is null then 0 else 50 end as bytes) as size
    ), refused as materialized (
        select j.problem, case j.problem when 'unreadable' then j.place else j.bytes end as number, j.agent_id
        from judged j
        where j.problem is not null
        order by j.place
        limit 1
    ), added as (
        insert into agent_commands as c (
            agent_id, incarnation, action, payload, session_id, priority, not_before, deliver_by, execution_timeout,
            max_attempts, redeliver_after_ack, submitted_by, idempotency_key, request_hash, redrive_of)
        select
            j.agent_id,
            j.incarnation,
            j.action,
            j.payload,
            j.session_id,
            j.priority,
            j.not_before,
            greatest(now(), j.not_before) + j.ttl_seconds * interval '1 second',
            j.execution_timeout,
            j.max_attempts,
            j.redeliver_after_ack,
            username,
            case when j.place = 1 then key else key || e'\x1f' || (j.place - 1) end,
            hash,
            j.redrive_of
        from judged j
        where not exists (select from refused)
        order by j.place
        on conflict (submitted_by, idempotency_key) do nothing
        returning c.*
    ), recorded as (
        insert into audit_log (actor, source_ip, action, agent_id, command_id, detail)
        select submit.actor, submit.source_ip, 'submit command', c.agent_id, c.command_id,
            jsonb_build_object('action', c.action, 'redriveOf', c.redrive_of)
        from added c
    )
    select 'accepted', null::bigint, c::agent_commands from added c
    union all
    select r.problem, r.number::bigint, jsonb_populate_record(null::agent_commands, jsonb_build_object('agent_id', r.agent_id))
    from refused r;
    get diagnostics added = row_count;
    if key is not null and added <> asked and exists (
        select from agent_commands c where c.submitted_by = username and c.idempotency_key = key)
    then
        raise exception 'the idempotency key was used at the same moment' using errcode = 'serialization_failure';
    end if;
end $$;
