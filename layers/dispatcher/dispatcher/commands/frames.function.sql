-- The texts that agents get.  The database builds them, from what was accepted, so that numbers keep their digits.  These
-- functions are single expressions and stable, so that the planner puts them into the query.

-- A message of protocol 1.  It has no timestamp: one agent wants an integer, another RFC 3339, and each drops frames with the
-- other.  StreamSpace's agents read no other payload than an object.
create function {f}.frame(command_id text, action text, payload jsonb) returns text language sql stable as $$
    select jsonb_build_object('type', 'command', 'payload', jsonb_build_object(
        'commandId', command_id, 'action', action, 'payload', coalesce(nullif(payload, 'null'), '{}')))::text
$$;

-- An entry of a batch, for agents of protocol 2.
create function {f}.entry_of(
    command_id text, attempt integer, action text, session_id text, payload jsonb, execution_timeout integer
) returns jsonb language sql stable as $$
    select jsonb_build_object(
        'commandId', command_id, 'attempt', attempt, 'action', action, 'sessionId', session_id,
        'payload', coalesce(payload, '{}'), 'executionTimeoutSeconds', execution_timeout)
$$;

-- The entry of a command.  With its time limit, if it has one: the gateway may hold a message back.  With its trace, if it has
-- one; each attempt is a step of it.
create function {f}.entry(c agent_commands) returns text language sql stable as $$
    select (
        {f}.entry_of(c.command_id, c.attempt, c.action, c.session_id, c.payload, c.execution_timeout)
        || case
            when c.deliver_by is null then '{}'
            else jsonb_build_object('deliverBy', to_char(c.deliver_by at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
        end
        || case
            when c.correlation_id is null then '{}'
            else jsonb_build_object('traceparent',
                '00-' || c.correlation_id || '-' || left(md5(c.command_id || c.attempt), 16) || '-01')
        end)::text
$$;

-- The bytes that a command takes of a message, in the protocol that takes more: an entry of a batch is the longer text.  It is
-- computed from the parts of `entry_of`, because each submission needs it: 97 for its names and signs, and 38 for an id of ours
-- in quotes.  A time limit takes 50, and a trace 74.
create function {f}.bytes(
    action text, session_id text, payload jsonb, execution_timeout integer, max_attempts integer, has_limit boolean
) returns integer language sql stable as $$
    select 97 + 38 + 74
        + octet_length(to_json(action)::text)
        + coalesce(octet_length(to_json(session_id)::text), 4)
        + coalesce(octet_length(payload::text), 2)
        + length(coalesce(max_attempts, 10)::text)
        + length(coalesce(execution_timeout, 600)::text)
        + case when has_limit then 50 else 0 end
$$;
