-- Accept commands, each with its audit entry.
-- To accept, neither an agent's row nor a queue is locked; only the claim after it waits for the agent's row, 250 ms at most.
-- So parallel submissions may exceed the limit of a queue by a few, and a command for an agent that is being deleted is told by
-- its incarnation.

-- Accept one command.  The first row is the command, with its `outcome`:
--   accepted;  replayed: the idempotency key was used for the same request before
--   one of unknown_agent, unreadable, too_large, queue_full, rate_exceeded, key_reused: why it is refused.  `number` is the
--   size of a command that is too large.
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
            {f}.reads_objects(agent.platform, agent.dialect), p_action, payload, number > p_most_bytes,
            {f}.waiting(p_agent_id, 1, p_queue) >= p_queue);
    end if;
    if outcome is null then
        -- `moves` says that every column has its value (see agent_commands_admit), and `recorded` that the history is written
        -- here.
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
            on conflict (submitted_by, idempotency_key) where idempotency_key is not null do nothing
            returning c.*
        ), listed as (
            insert into command_list
                (seq, command_id, agent_id, session_id, action, submitted_by, created_at, incarnation, redrive_of)
            select c.seq, c.command_id, c.agent_id, c.session_id, c.action, c.submitted_by, c.created_at, c.incarnation,
                c.redrive_of
            from added c
        ), recorded as (
            insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, position)
            select c.command_id, null, c.status, c.attempt, c.epoch, c.cause, feed_position(pg_current_xact_id())
            from added c
        ), audited as (
            insert into audit_log (actor, source_ip, action, agent_id, command_id, detail)
            select p_actor, p_source_ip, 'submit command', p_agent_id, c.command_id,
                {f}.detail(p_action, p_redrive_of, p_reason)
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
        select coalesce(sum(coalesce((counted.detail ->> 'commands')::integer, 1)), 0)
        from (
            select l.detail
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

-- Why a command is not accepted for an agent that exists; null: it is.
create function {f}.problem_of(
    reads_objects boolean, action text, payload jsonb, is_too_large boolean, is_queue_full boolean
) returns text language sql stable as $$
    select case
        when reads_objects
            and (jsonb_typeof(payload) not in ('object', 'null')
                or action in ('start_session', 'stop_session', 'hibernate_session', 'wake_session')
                and payload ->> 'sessionId' !~ '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')
        then 'unreadable'
        when is_too_large then 'too_large'
        when is_queue_full then 'queue_full'
    end
$$;

-- Whether an agent reads objects only: StreamSpace's agents drop a payload that is no object, or a session whose name is no DNS
-- label, without a word; agents of protocol 2 read both.
create function {f}.reads_objects(platform text, mode text) returns boolean language sql stable as $$
    select platform in ('docker', 'kubernetes') and mode <> 'batching'
$$;

-- Whether a command takes more bytes of a message than there are.  For nearly all commands an upper bound decides: 300 bytes
-- for all that is not the command's own text, and six for each byte of a text, as in \u0000.
create function {f}.is_too_large(
    action text, session_id text, payload jsonb, execution_timeout integer, max_attempts integer, has_limit boolean,
    most_bytes integer
) returns boolean language sql stable as $$
    select case
        when coalesce(octet_length(payload::text), 0) + 6 * octet_length(action) + coalesce(6 * octet_length(session_id), 0)
            + 300
            <= most_bytes
        then false
        else {f}.bytes(action, session_id, payload, execution_timeout, max_attempts, has_limit) > most_bytes
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

-- Accept many commands, all or none.  `common` has the members that all of them share, `others` the rest of each command,
-- without its payload.  The answer is one row, with the `outcome` of all: see `submit`.
--   accepted, replayed: `command_ids` and, if they were replayed, their `statuses`, in the order of the list
--   otherwise the first command that is refused, as `submit` says it: `number` is also the place of one that is unreadable
create function {f}.submit_list(
    common jsonb, payloads jsonb, others jsonb, correlation_id text, reason text, username text, actor text, source_ip text,
    scope jsonb, key text, hash bytea, queue integer, rate integer, most_bytes integer)
returns table (outcome text, number bigint, agent_id text, command_ids text[], statuses text[])
language plpgsql
set plan_cache_mode = force_generic_plan
set lock_timeout = '2000ms'
as $$
#variable_conflict use_column
declare
    size constant integer := jsonb_array_length(payloads);
    -- Ids as the table makes them, from one look at the clock and one random part: 13 digits for microseconds until the year
    -- 2112, and 19 digits, which the audit log finds a list by.  A command takes several microseconds, so no id is ahead of the
    -- clock at the end.
    first_id constant bigint := (date_part('epoch', clock_timestamp()) * 1000000)::bigint;
    rest_of_id constant text := right(replace(gen_random_uuid()::text, '-', ''), 19);
begin
    if key is not null then
        -- The first command has the key itself, so that the key of a list cannot be used for a single command either.
        return query
        select
            case when bool_and(c.request_hash = hash) then 'replayed' else 'key_reused' end,
            null::bigint,
            null,
            array_agg(c.command_id order by c.seq),
            array_agg(c.status order by c.seq)
        from agent_commands c
        where c.submitted_by = username
          and c.idempotency_key = any(array(
            select case when n = 0 then key else key || e'\x1f' || n end from generate_series(0, size - 1) as n))
        having count(*) > 0;
        if found then
            return;
        end if;
    end if;
    if rate > 0 and {f}.exceeds_rate(actor, size, rate) then
        return query select 'rate_exceeded', null::bigint, null, null::text[], null::text[];
        return;
    end if;
    return query
    with asked as materialized (
        select
            n.ordinality as place,
            coalesce(n.agent_id, s.agent_id) as agent_id,
            coalesce(n.action, s.action) as action,
            -- A redriven command has the stored payload.
            case
                when n.redrive_of is null then nullif(n.payload, 'null')
                else (select o.payload from agent_commands o where o.command_id = n.redrive_of)
            end as payload,
            {f}.session_of(coalesce(n.session_id, s.session_id), n.payload) as session_id,
            coalesce(n.priority, s.priority) as priority,
            coalesce(n.not_before, s.not_before) as not_before,
            coalesce(n.ttl_seconds, s.ttl_seconds) as ttl_seconds,
            coalesce(n.execution_timeout, s.execution_timeout) as execution_timeout,
            coalesce(n.max_attempts, s.max_attempts) as max_attempts,
            coalesce(n.redeliver_after_ack, s.redeliver_after_ack) as redeliver_after_ack,
            n.redrive_of
        from jsonb_to_record(common) as s (
            agent_id text, action text, session_id text, priority smallint, not_before timestamptz, ttl_seconds integer,
            execution_timeout integer, max_attempts integer, redeliver_after_ack boolean)
        cross join rows from (
            jsonb_array_elements(payloads),
            jsonb_to_recordset(others) as (
                agent_id text, action text, session_id text, priority smallint, not_before timestamptz, ttl_seconds integer,
                execution_timeout integer, max_attempts integer, redeliver_after_ack boolean, redrive_of text)
        ) with ordinality as n (
            payload, agent_id, action, session_id, priority, not_before, ttl_seconds, execution_timeout, max_attempts,
            redeliver_after_ack, redrive_of, ordinality)
    ), queues as materialized (
        select
            q.agent_id,
            a.agent_id is not null as is_known,
            a.incarnation,
            {f}.reads_objects(a.platform, a.dialect) as reads_objects,
            -- From this place on the queue has no room.
            q.places[1 + queue - {f}.waiting(q.agent_id, cardinality(q.places), queue)] as full_from
        from (select e.agent_id, array_agg(e.place order by e.place) as places from asked e group by e.agent_id) as q
        left join agents a
            on a.agent_id = q.agent_id
            and a.deleted_at is null
            and (scope is null or a.labels @> scope)
    ), judged as materialized (
        select
            n.*,
            q.incarnation,
            case
                when q.is_known then {f}.problem_of(
                    q.reads_objects, n.action, n.payload,
                    {f}.is_too_large(
                        n.action, n.session_id, n.payload, n.execution_timeout, n.max_attempts, n.ttl_seconds is not null,
                        most_bytes),
                    n.place >= q.full_from)
                else 'unknown_agent'
            end as problem
        from asked n
        join queues q on q.agent_id = n.agent_id
    ), refused as materialized (
        select
            j.problem,
            j.agent_id,
            case j.problem
                when 'unreadable' then j.place
                when 'too_large' then {f}.bytes(
                    j.action, j.session_id, j.payload, j.execution_timeout, j.max_attempts, j.ttl_seconds is not null)
            end as number
        from judged j
        where j.problem is not null
        order by j.place
        limit 1
    ), added as (
        -- A key that was used at the same moment is a unique violation.
        insert into agent_commands as c (
            command_id, moves, recorded, agent_id, incarnation, action, payload, session_id, priority, not_before, deliver_by,
            execution_timeout, max_attempts, redeliver_after_ack, submitted_by, idempotency_key, request_hash, redrive_of,
            correlation_id)
        select
            'cmd-' || to_hex(first_id + j.place) || rest_of_id,
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
        returning c.seq, c.command_id, c.agent_id, c.session_id, c.action, c.submitted_by, c.created_at, c.incarnation,
            c.redrive_of, c.status, c.attempt, c.epoch, c.cause
    ), listed as (
        insert into command_list
            (seq, command_id, agent_id, session_id, action, submitted_by, created_at, incarnation, redrive_of)
        select c.seq, c.command_id, c.agent_id, c.session_id, c.action, c.submitted_by, c.created_at, c.incarnation,
            c.redrive_of
        from added c
    ), recorded as (
        insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, position)
        select c.command_id, null, c.status, c.attempt, c.epoch, c.cause, (select feed_position(pg_current_xact_id()))
        from added c
    ), audited as (
        -- One entry for all commands of an agent of which it would say the same.
        insert into audit_log (actor, source_ip, action, agent_id, command_id, command_ids, detail)
        select
            submit_list.actor,
            submit_list.source_ip,
            'submit command',
            s.agent_id,
            case when s.number = 1 then s.ids[1] end,
            case when s.number > 1 then s.ids end,
            case when s.number > 1 then s.detail || jsonb_build_object('commands', s.number) else s.detail end
        from (
            select
                c.agent_id,
                {f}.detail(c.action, c.redrive_of, submit_list.reason) as detail,
                array_agg(c.command_id order by c.seq) as ids,
                count(*) as number
            from added c
            group by c.agent_id, c.action, c.redrive_of) as s
    )
    select 'accepted', null::bigint, null, array_agg(c.command_id order by c.seq), null::text[]
    from added c
    having count(*) > 0
    union all
    select r.problem, r.number, r.agent_id, null, null
    from refused r;
end $$;
