-- Accept commands, each with its audit entry.
-- Neither an agent's row nor a queue is locked: a submission waits for nobody.  So parallel submissions may exceed the limit of
-- a queue by a few, and a command for an agent that is being deleted is told by its incarnation.

-- Accept one command.  The first row is the command, with its `outcome`:
--   accepted;  replayed: the idempotency key was used for the same request before
--   one of unknown_agent, unreadable, too_large, queue_full, rate_exceeded, key_reused: why it is refused.  `number` is the size
--   of a command that is too large.
-- With a token the rows after it are what was claimed for the agent: see `claim`.
create function {f}.submit(
    p_agent_id text, p_action text, p_payload jsonb, p_session_id text, p_priority smallint, p_not_before timestamptz,
    p_ttl_seconds integer, p_execution_timeout integer, p_max_attempts integer, p_redeliver_after_ack boolean,
    p_redrive_of text, p_correlation_id text, p_reason text, p_username text, p_actor text, p_source_ip text, p_scope jsonb,
    p_key text, p_hash bytea, p_queue integer, p_rate integer, p_most_bytes integer, p_token uuid)
returns table (
    outcome text, number bigint, command agent_commands,
    kind text, connection_id text, epoch bigint, mode text, refusals integer,
    command_id text, attempt integer, moves integer, frame text, seconds_left double precision, correlation_id text)
language plpgsql
set plan_cache_mode = force_generic_plan
set lock_timeout = '2s'  -- the caller gets its 503 in time
as $$
#variable_conflict use_variable
declare
    agent record;
    payload jsonb := p_payload;
    session_id text;
begin
    select a.incarnation, a.platform, a.dialect, a.connection_id into agent
    from agents a
    where a.agent_id = p_agent_id
      and a.deleted_at is null
      and (p_scope is null or a.labels @> p_scope);
    if not found then
        outcome := 'unknown_agent';
    elsif p_rate > 0 and {f}.exceeds_rate(p_actor, 1, p_rate) then
        outcome := 'rate_exceeded';
    else
        if p_redrive_of is not null then
            payload := (select o.payload from agent_commands o where o.command_id = p_redrive_of);
        end if;
        session_id := {f}.session_of(p_session_id, payload);
        number := {f}.bytes(
            p_action, session_id, payload, p_execution_timeout, p_max_attempts, p_ttl_seconds is not null);
        outcome := {f}.problem_of(
            agent.platform, agent.dialect, p_action, payload, number::integer, p_most_bytes,
            {f}.waiting(p_agent_id, 1, p_queue), p_queue);
    end if;
    if outcome is null then
        -- `moves` says that every column has its value (see agent_commands_admit), and `recorded` that the history is written here.
        with added as (
            insert into agent_commands as c (
                moves, recorded, agent_id, incarnation, action, payload, session_id, priority, not_before, deliver_by,
                execution_timeout, max_attempts, redeliver_after_ack, submitted_by, idempotency_key, request_hash, redrive_of,
                correlation_id)
            values (
                0, 0, p_agent_id, agent.incarnation, p_action, payload, session_id, coalesce(p_priority, 0::smallint),
                p_not_before, greatest(now(), p_not_before) + p_ttl_seconds * interval '1 second',
                coalesce(p_execution_timeout, 600), coalesce(p_max_attempts, 10), p_redeliver_after_ack,
                p_username, p_key, p_hash, p_redrive_of, p_correlation_id)
            on conflict (submitted_by, idempotency_key) do nothing
            returning c.*
        ), listed as (
            insert into command_list
                (seq, command_id, agent_id, session_id, action, submitted_by, created_at, incarnation, redrive_of)
            select c.seq, c.command_id, c.agent_id, c.session_id, c.action, c.submitted_by, c.created_at, c.incarnation, c.redrive_of
            from added c
        ), recorded as (
            insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, position)
            select c.command_id, null, c.status, c.attempt, c.epoch, c.cause, feed_position(pg_current_xact_id())
            from added c
        ), audited as (
            insert into audit_log (actor, source_ip, action, agent_id, command_id, detail)
            select p_actor, p_source_ip, 'submit command', p_agent_id, c.command_id, {f}.detail(p_action, p_redrive_of, p_reason)
            from added c
        )
        select c.* into command from added c;
        if found then
            outcome := 'accepted';
        end if;
    end if;
    if outcome is distinct from 'accepted' and p_key is not null then
        select c.* into command
        from agent_commands c
        where c.submitted_by = p_username
          and c.idempotency_key = p_key;
        if found then
            outcome := case when command.request_hash = p_hash then 'replayed' else 'key_reused' end;
        end if;
    end if;
    return next;
    command := null;   -- the rows of the claim do not repeat it
    if p_token is null or agent.connection_id is null or outcome not in ('accepted', 'replayed') then
        return;
    end if;
    begin
        for kind, connection_id, epoch, mode, refusals, command_id, attempt, moves, frame, seconds_left, correlation_id in
            select * from {f}.claim(p_agent_id, p_token)
        loop
            return next;
        end loop;
    exception when lock_not_available then
        null;  -- somebody has locked the agent; the sweep delivers
    end;
end $$;

-- Whether an operator would exceed the commands of a minute.  Its parallel submissions wait for one another here.
create function {f}.exceeds_rate(p_actor text, more bigint, rate integer) returns boolean language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('rate of ' || p_actor, 0));
    return more + (
        select count(*)
        from (
            select
            from audit_log l
            where l.actor = p_actor
              and l.at > now() - interval '1 minute'
              and l.action = 'submit command'
            limit rate) as counted) > rate;
end $$;

-- The session that a command is about.
create function {f}.session_of(session_id text, payload jsonb) returns text language sql stable as $$
    select coalesce(session_id, case
        when jsonb_typeof(payload -> 'sessionId') = 'string' then nullif(payload ->> 'sessionId', '')
    end)
$$;

-- What the audit entry of a submission says.
create function {f}.detail(action text, redrive_of text, reason text) returns jsonb language sql stable as $$
    select case
        when reason is null then jsonb_build_object('action', action, 'redriveOf', redrive_of)
        else jsonb_build_object('action', action, 'redriveOf', redrive_of, 'reason', reason)
    end
$$;

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
    ends record;
begin
    select last.seq - first.seq + 1 as bound, first.priority = last.priority as is_bound into ends
    from (
        select w.priority, w.seq
        from agent_commands w
        where w.agent_id = p_agent_id
          and w.status = 'pending'
        order by w.priority desc, w.seq
        limit 1) as first
    cross join (
        select w.priority, w.seq
        from agent_commands w
        where w.agent_id = p_agent_id
          and w.status = 'pending'
        order by w.priority, w.seq desc
        limit 1) as last;
    if not found then
        return 0;
    elsif ends.is_bound and ends.bound + more <= queue then
        return ends.bound;
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

-- Accept many commands, all or none.  Rows, in the order of the list: the commands, accepted or replayed; or the first command
-- that is refused, as `submit` says it, where `number` is also the place of one that is unreadable.
create function {f}.submit_list(
    commands jsonb, correlation_id text, reason text, username text, actor text, source_ip text, scope jsonb, key text, hash bytea,
    queue integer, rate integer, most_bytes integer)
returns table (outcome text, number bigint, command_id text, agent_id text, status text)
language plpgsql
set plan_cache_mode = force_generic_plan
set lock_timeout = '2000ms'
as $$
#variable_conflict use_column
declare
    asked constant integer := jsonb_array_length(commands);
    added integer;
begin
    if key is not null then
        -- The first command has the key itself, so that the key of a list cannot be used for a single command either.
        return query
        select case when c.request_hash = hash then 'replayed' else 'key_reused' end, null::bigint, c.command_id, c.agent_id, c.status
        from agent_commands c
        where c.submitted_by = username
          and c.idempotency_key = any(array(
            select case when n = 0 then key else key || e'\x1f' || n end from generate_series(0, asked - 1) as n))
        order by c.seq;
        if found then
            return;
        end if;
    end if;
    if rate > 0 and {f}.exceeds_rate(actor, asked, rate) then
        return query select 'rate_exceeded', null::bigint, null, null, null;
        return;
    end if;
    return query
    with asked as materialized (
        select
            n.ordinality as place,
            n.agent_id,
            n.action,
            -- A redriven command has the stored payload.
            case when n.redrive_of is null then n.payload else o.payload end as payload,
            {f}.session_of(n.session_id, n.payload) as session_id,
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
            moves, recorded, agent_id, incarnation, action, payload, session_id, priority, not_before, deliver_by,
            execution_timeout, max_attempts, redeliver_after_ack, submitted_by, idempotency_key, request_hash, redrive_of,
            correlation_id)
        select
            0,
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
            submit_list.correlation_id
        from judged j
        where not exists (select from refused)
        order by j.place
        on conflict (submitted_by, idempotency_key) do nothing
        returning c.seq, c.command_id, c.agent_id, c.session_id, c.action, c.submitted_by, c.created_at, c.incarnation,
            c.redrive_of, c.status, c.attempt, c.epoch, c.cause
    ), listed as (
        insert into command_list
            (seq, command_id, agent_id, session_id, action, submitted_by, created_at, incarnation, redrive_of)
        select c.seq, c.command_id, c.agent_id, c.session_id, c.action, c.submitted_by, c.created_at, c.incarnation, c.redrive_of
        from added c
    ), recorded as (
        insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, position)
        select c.command_id, null, c.status, c.attempt, c.epoch, c.cause, (select feed_position(pg_current_xact_id()))
        from added c
    ), audited as (
        insert into audit_log (actor, source_ip, action, agent_id, command_id, detail)
        select submit_list.actor, submit_list.source_ip, 'submit command', c.agent_id, c.command_id,
            {f}.detail(c.action, c.redrive_of, submit_list.reason)
        from added c
    )
    select 'accepted', null::bigint, c.command_id, c.agent_id, c.status from added c
    union all
    select r.problem, r.number::bigint, null, r.agent_id, null from refused r;
    get diagnostics added = row_count;
    if key is not null and added <> asked and exists (
        select from agent_commands c where c.submitted_by = username and c.idempotency_key = key)
    then
        raise exception 'the idempotency key was used at the same moment' using errcode = 'serialization_failure';
    end if;
end $$;
