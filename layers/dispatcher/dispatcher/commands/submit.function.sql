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
set plan_cache_mode = force_generic_plan
set lock_timeout = '2s'  -- the caller gets its 503 in time, also after a second try
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
    if asked = 1 then
        return query select * from {f}.submit_one(
            commands -> 0, username, actor, source_ip, scope, key, hash, queue, most_bytes);
    else
        return query select * from {f}.submit_list(
            commands, username, actor, source_ip, scope, key, hash, queue, most_bytes);
    end if;
    get diagnostics added = row_count;
    if key is not null and added <> asked and exists (
        select from agent_commands c where c.submitted_by = username and c.idempotency_key = key)
    then
        raise exception 'the idempotency key was used at the same moment' using errcode = 'serialization_failure';
    end if;
end $$;

-- Why a command is not accepted for an agent that exists; null: it is.  StreamSpace's agents drop a payload that is no object, or
-- a session whose name is no DNS label, without a word; agents of protocol 2 read both.
create function {f}.problem_of(
    platform text, mode text, action text, payload jsonb, bytes integer, most_bytes integer, waiting bigint, queue integer
) returns text language sql stable as $$
    select case
        when platform in ('docker', 'kubernetes')
            and mode <> 'batching'
            and (jsonb_typeof(payload) not in ('object', 'null')
                or action in ('start_session', 'stop_session', 'hibernate_session', 'wake_session')
                and payload ->> 'sessionId' !~ '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')
        then 'unreadable'
        when bytes > most_bytes then 'too_large'
        when waiting >= queue then 'queue_full'
    end
$$;

-- How many commands wait for an agent, up to `queue`; at least an upper bound that leaves room for `more`.  The order of
-- acceptance gives such a bound at once; only a queue that may be full is counted.
create function {f}.waiting(p_agent_id text, more bigint, queue integer) returns bigint language plpgsql stable as $$
declare
    first record;
    last record;
begin
    select w.priority, w.seq into first
    from agent_commands w
    where w.agent_id = p_agent_id
      and w.status = 'pending'
    order by w.priority desc, w.seq
    limit 1;
    if not found then
        return 0;
    end if;
    select w.priority, w.seq into last
    from agent_commands w
    where w.agent_id = p_agent_id
      and w.status = 'pending'
    order by w.priority, w.seq desc
    limit 1;
    if first.priority = last.priority and last.seq - first.seq + 1 + more <= queue then
        return last.seq - first.seq + 1;
    end if;
    return (
        select count(*)
        from (
            select
            from agent_commands w
            where w.agent_id = p_agent_id
              and w.status = 'pending'
            order by w.priority desc, w.seq
            limit queue) as waiting);
end $$;

-- One command: plain statements, because the plan for a list takes longer to start than to run.
create function {f}.submit_one(
    asked jsonb, username text, actor text, source_ip text, scope jsonb, key text, hash bytea, queue integer,
    most_bytes integer)
returns table (outcome text, number bigint, command agent_commands)
language plpgsql as $$
#variable_conflict use_column
declare
    agent agents;
    new agent_commands;
    seconds constant integer := (asked ->> 'ttl_seconds')::integer;
begin
    new := jsonb_populate_record(null::agent_commands, asked);
    select a.* into agent
    from agents a
    where a.agent_id = asked ->> 'agent_id'
      and a.deleted_at is null
      and (scope is null or a.labels @> scope);
    if not found then
        outcome := 'unknown_agent';
        command := new;
        return next;
        return;
    end if;
    if new.redrive_of is not null then
        new.payload := (select o.payload from agent_commands o where o.command_id = new.redrive_of);
    end if;
    if new.session_id is null and jsonb_typeof(new.payload -> 'sessionId') = 'string' then
        new.session_id := nullif(new.payload ->> 'sessionId', '');
    end if;
    number := {f}.bytes(
        new.action, new.session_id, new.payload, new.execution_timeout, new.max_attempts, seconds is not null);
    outcome := {f}.problem_of(
        agent.platform, agent.dialect, new.action, new.payload, number::integer, most_bytes,
        {f}.waiting(agent.agent_id, 1, queue), queue);
    if outcome is not null then
        number := case outcome when 'unreadable' then 1 else number end;
        command := new;
        return next;
        return;
    end if;
    -- `moves` says that every column has its value: see agent_commands_admit.
    insert into agent_commands as c (
        moves, agent_id, incarnation, action, payload, session_id, priority, not_before, deliver_by, execution_timeout,
        max_attempts, redeliver_after_ack, submitted_by, idempotency_key, request_hash, redrive_of, correlation_id)
    values (
        0, agent.agent_id, agent.incarnation, new.action, new.payload, new.session_id, coalesce(new.priority, 0),
        new.not_before, greatest(now(), new.not_before) + seconds * interval '1 second',
        coalesce(new.execution_timeout, 600), coalesce(new.max_attempts, 10), coalesce(new.redeliver_after_ack, false),
        username, key, hash, new.redrive_of, new.correlation_id)
    on conflict (submitted_by, idempotency_key) do nothing
    returning c.* into command;
    if not found then
        return;
    end if;
    insert into audit_log (actor, source_ip, action, agent_id, command_id, detail)
    values (
        submit_one.actor, submit_one.source_ip, 'submit command', command.agent_id, command.command_id,
        jsonb_build_object('action', command.action, 'redriveOf', command.redrive_of)
            || jsonb_strip_nulls(jsonb_build_object('reason', asked -> 'reason')));
    outcome := 'accepted';
    return next;
end $$;

-- Many commands, all or none, in one statement.
create function {f}.submit_list(
    commands jsonb, username text, actor text, source_ip text, scope jsonb, key text, hash bytea, queue integer,
    most_bytes integer)
returns table (outcome text, number bigint, command agent_commands)
language plpgsql as $$
#variable_conflict use_column
begin
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
            n.redrive_of,
            n.correlation_id
        from rows from (jsonb_to_recordset(commands) as (
            agent_id text, action text, payload jsonb, session_id text, priority smallint, not_before timestamptz,
            ttl_seconds integer, execution_timeout integer, max_attempts integer, redeliver_after_ack boolean,
            redrive_of text, correlation_id text)) with ordinality as n
        left join agent_commands o on o.command_id = n.redrive_of
    ), queues as materialized (
        select q.agent_id, {f}.waiting(q.agent_id, count(*), queue) as waiting
        from asked q
        group by q.agent_id
    ), judged as materialized (
        select
            n.*,
            a.incarnation,
            size.bytes,
            case
                when a.agent_id is null then 'unknown_agent'
                else {f}.problem_of(
                    a.platform, a.dialect, n.action, n.payload, size.bytes, most_bytes,
                    q.waiting + row_number() over (partition by n.agent_id order by n.place) - 1, queue)
            end as problem
        from asked n
        join queues q on q.agent_id = n.agent_id
        left join agents a
            on a.agent_id = n.agent_id
            and a.deleted_at is null
            and (scope is null or a.labels @> scope)
        cross join lateral (select {f}.bytes(
            n.action, n.session_id, n.payload, n.execution_timeout, n.max_attempts, n.ttl_seconds is not null) as bytes) as size
    ), refused as materialized (
        select j.problem, case j.problem when 'unreadable' then j.place else j.bytes end as number, j.agent_id
        from judged j
        where j.problem is not null
        order by j.place
        limit 1
    ), added as (
        insert into agent_commands as c (
            moves, agent_id, incarnation, action, payload, session_id, priority, not_before, deliver_by, execution_timeout,
            max_attempts, redeliver_after_ack, submitted_by, idempotency_key, request_hash, redrive_of, correlation_id)
        select
            0,
            j.agent_id,
            j.incarnation,
            j.action,
            j.payload,
            j.session_id,
            coalesce(j.priority, 0),
            j.not_before,
            greatest(now(), j.not_before) + j.ttl_seconds * interval '1 second',
            coalesce(j.execution_timeout, 600),
            coalesce(j.max_attempts, 10),
            coalesce(j.redeliver_after_ack, false),
            username,
            case when j.place = 1 then key else key || e'\x1f' || (j.place - 1) end,
            hash,
            j.redrive_of,
            j.correlation_id
        from judged j
        where not exists (select from refused)
        order by j.place
        on conflict (submitted_by, idempotency_key) do nothing
        returning c.*
    ), recorded as (
        insert into audit_log (actor, source_ip, action, agent_id, command_id, detail)
        select submit_list.actor, submit_list.source_ip, 'submit command', c.agent_id, c.command_id,
            jsonb_build_object('action', c.action, 'redriveOf', c.redrive_of)
                || jsonb_strip_nulls(jsonb_build_object('reason', commands -> 0 -> 'reason'))
        from added c
    )
    select 'accepted', null::bigint, c::agent_commands from added c
    union all
    select r.problem, r.number::bigint, jsonb_populate_record(null::agent_commands, jsonb_build_object('agent_id', r.agent_id))
    from refused r;
end $$;
