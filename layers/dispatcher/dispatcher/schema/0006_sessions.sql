-- Sessions follow their commands, whichever program writes; and the templates that sessions are started from.

-- ── Templates ────────────────────────────────────────────────────────────────────────────────────────────────────────────
-- A manifest is StreamSpace's object of kind Template.  Agents of StreamSpace get it with each start.
create table session_templates (
    name       text primary key check (name <> ''),
    manifest   jsonb not null check (jsonb_typeof(manifest) = 'object'),
    updated_at moment not null default now(),
    updated_by text
);
insert into session_templates (name, manifest) values ('firefox-browser', '{
    "apiVersion": "stream.space/v1alpha1",
    "kind": "Template",
    "metadata": {"name": "firefox-browser"},
    "spec": {
        "displayName": "Firefox",
        "description": "The web browser of Mozilla, in a desktop that is shown in the browser of its user",
        "baseImage": "linuxserver/firefox:latest",
        "appType": "desktop",
        "defaultResources": {"memory": "2Gi", "cpu": "1000m"},
        "ports": [{"name": "vnc", "containerPort": 3000, "protocol": "TCP"}],
        "env": [{"name": "PUID", "value": "1000"}, {"name": "PGID", "value": "1000"}, {"name": "TZ", "value": "UTC"}],
        "volumeMounts": [{"name": "user-home", "mountPath": "/config"}],
        "kasmvnc": {"enabled": true, "port": 3000},
        "capabilities": ["Network", "Audio", "Clipboard"]
    }
}');

-- ── Sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
-- The manifest of the start, so that a repeated request means the same although its template was changed.
alter table sessions add template_manifest jsonb check (jsonb_typeof(template_manifest) = 'object');
-- As for commands, no foreign key to agents: its check waits for whoever has locked the agent's row.
alter table sessions drop constraint sessions_agent_id_fkey;
-- A session belongs to one incarnation of its agent.
alter table sessions add incarnation bigint;
update sessions s
set incarnation = case when s.created_at < a.created_at then 0 else a.incarnation end
from agents a
where a.agent_id = s.agent_id;
alter table sessions alter incarnation set not null;

-- `state` is what people see.  It follows from what the agent said last, from commands whose outcome nobody knows, and from
-- the command that is under way (session_state).
alter table sessions drop constraint sessions_state_check;
alter table sessions add constraint sessions_state_check check (state in
    ('pending', 'running', 'stopping', 'hibernating', 'hibernated', 'waking', 'terminated', 'failed', 'unknown'));
alter table sessions add known_state text not null default 'pending'
    check (known_state in ('pending', 'running', 'hibernated', 'terminated', 'failed'));
alter table sessions add known_by bigint not null default 0;   -- the `seq` of the last command whose outcome the agent reported
alter table sessions add doubts bigint[] not null default '{}';   -- the `seq` of each command that may have been executed

-- The commands under way that a session waits for.
create index agent_commands_of_sessions on agent_commands (session_id, seq)
    where session_id is not null
      and status in ('pending', 'sent', 'acknowledged')
      and action in ('start_session', 'stop_session', 'hibernate_session', 'wake_session');

create function session_under_way(of_session text, at_agent text) returns text language sql stable as $$
    select c.action
    from agent_commands c
    where c.session_id = of_session
      and c.agent_id = at_agent
      and c.status in ('pending', 'sent', 'acknowledged')
      and c.action in ('start_session', 'stop_session', 'hibernate_session', 'wake_session')
    order by c.seq desc
    limit 1
$$;

create function session_goal(action text) returns text language sql immutable parallel safe as $$
    select case action
        when 'start_session' then 'running'
        when 'stop_session' then 'terminated'
        when 'hibernate_session' then 'hibernated'
        when 'wake_session' then 'running'
    end
$$;

create function session_state(known text, in_doubt boolean, under_way text) returns text
    language sql immutable parallel safe as $$
    select case
        when under_way = 'start_session' and (in_doubt or known in ('pending', 'failed', 'terminated')) then 'pending'
        when under_way = 'stop_session' and (in_doubt or known <> 'terminated') then 'stopping'
        when under_way = 'hibernate_session' and (in_doubt or known in ('pending', 'running')) then 'hibernating'
        when under_way = 'wake_session' and (in_doubt or known = 'hibernated') then 'waking'
        when in_doubt then 'unknown'
        else known
    end
$$;

-- Details are merged.  They stay small, because a page of a list holds up to 200 sessions: if the old ones do not fit, they go.
create function session_details(old_details jsonb, new_details jsonb) returns jsonb
    language sql immutable parallel safe as $$
    select case
        when octet_length(d.merged::text) <= 16384 then nullif(d.merged, '{}')
        when octet_length(d.added::text) <= 16384 then d.added
        else '{"reason": "the details are larger than 16 KB and were not kept"}'
    end
    from (
        select e.added, case jsonb_typeof(old_details) when 'object' then old_details else '{}' end || e.added as merged
        from (
            select case
                when jsonb_typeof(new_details) = 'object' then new_details - '{sessionId,state,status,commandId}'::text[]
                when new_details is null or jsonb_typeof(new_details) = 'null' then '{}'
                else jsonb_build_object('result', new_details)
            end as added) as e
    ) as d
$$;

-- What was stored until now: the state alone.
update sessions s
set known_state = case
        when state in ('stopping', 'hibernating') then 'running'
        when state = 'waking' then 'hibernated'
        else state
    end,
    -- A session that waits for no command that is under way was forgotten; nobody knows its state.
    doubts = case
        when state in ('pending', 'stopping', 'hibernating', 'waking') and session_under_way(name, agent_id) is null then '{0}'::bigint[]
        else '{}'
    end,
    details = session_details(null, details);
update sessions s
set known_state = 'terminated',
    doubts = '{}',
    details = session_details(details, '{"reason": "its agent was deleted"}')
where state <> 'terminated'
  and not exists (
    select from agents a
    where a.agent_id = s.agent_id
      and a.incarnation = s.incarnation
      and a.deleted_at is null);
update sessions
set state = session_state(known_state, doubts <> '{}', session_under_way(name, agent_id))
where known_state in ('pending', 'terminated') or doubts <> '{}';

create function sessions_admit() returns trigger language plpgsql as $$
begin
    new.incarnation := coalesce((select a.incarnation from agents a where a.agent_id = new.agent_id), 1);
    return new;
end $$;
create trigger sessions_admit before insert on sessions
    for each row when (new.incarnation is null) execute function sessions_admit();

-- Lock a session of the agent as it is today; null if there is none.  What is read afterwards, in a statement of its own, sees
-- everything that others have committed until then.
create function session_locked(of_session text, at_agent text) returns sessions language plpgsql as $$
declare
    session sessions;
begin
    select s.*
    into session
    from sessions s
    join agents a using (agent_id)
    where s.name = of_session
      and s.agent_id = at_agent
      and s.incarnation = a.incarnation
      and a.deleted_at is null
    for update of s;
    if jsonb_typeof(session.details) <> 'object' then
        session.details := null;   -- stored by an earlier version
    end if;
    return session;
end $$;

create function session_store(session sessions) returns void language sql as $$
    update sessions s
    set known_state = session.known_state,
        known_by = session.known_by,
        doubts = session.doubts,
        details = session.details,
        state = session_state(session.known_state, session.doubts <> '{}', session_under_way(s.name, s.agent_id)),
        updated_at = now()
    where s.name = session.name
$$;

-- What an agent says about one of its sessions: it ends every doubt.  False: this agent has no such session.
create function session_reported(at_agent text, of_session text, said text, said_details jsonb) returns boolean
    language plpgsql as $$
declare
    session sessions := session_locked(of_session, at_agent);
begin
    if session.name is null then
        return false;
    end if;
    if said is not null then
        session.known_state := said;
        session.doubts := '{}';
        session.details := session.details - 'reason';
    end if;
    session.details := session_details(session.details, said_details);
    perform session_store(session);
    return true;
end $$;

-- ── Commands about sessions ──────────────────────────────────────────────────────────────────────────────────────────────
-- The conditions stand at the triggers, so that a command without a session costs no call.  A command that names its session
-- only in its payload has it in `session_id` by then (0004).

-- A start that did not come through the sessions API makes a session too.
create function session_command_begins() returns trigger language plpgsql as $$
declare
    session sessions;
begin
    if new.action = 'start_session' then
        insert into sessions (name, agent_id, owner, template, resources, persistent_home)
        select
            new.session_id,
            new.agent_id,
            left(coalesce(new.payload ->> 'user', new.submitted_by, ''), 256),
            left(coalesce(new.payload ->> 'template', ''), 256),
            jsonb_strip_nulls(jsonb_build_object(
                'memory', left(coalesce(new.payload -> 'resources' ->> 'memory', new.payload ->> 'memory'), 256),
                'cpu', left(coalesce(new.payload -> 'resources' ->> 'cpu', new.payload ->> 'cpu'), 256))),
            coalesce(new.payload -> 'persistentHome' = 'true', false)
        from agents a
        where a.agent_id = new.agent_id
          and a.deleted_at is null
        on conflict (name) do nothing;
    end if;
    session := session_locked(new.session_id, new.agent_id);
    if session.name is not null then
        perform session_store(session);
    end if;
    return null;
end $$;
create trigger session_command_begins after insert on agent_commands
    for each row when (
        new.session_id is not null
        and new.action in ('start_session', 'stop_session', 'hibernate_session', 'wake_session')
        and new.status in ('pending', 'sent', 'acknowledged')
        and octet_length(new.session_id) between 1 and 256)
    execute function session_command_begins();

-- However a command ends: by its agent's report, a deadline, a cancel, or by hand; and however often, because the agent's result
-- may replace a guess.
create function session_command_ends() returns trigger language plpgsql as $$
declare
    session sessions := session_locked(new.session_id, new.agent_id);
    goal text := session_goal(new.action);
    said text := coalesce(new.result ->> 'state', new.result ->> 'status');
    -- The outcome of a later command is known already: this one tells nothing about the present.
    late boolean := new.seq < session.known_by;
    -- An attempt is what may have reached the agent.  An agent that confirms a cancel has not executed the command.
    unexecuted boolean := new.attempt = 0 or new.cause = 'cancelled by its agent';
begin
    if session.name is null then
        return null;
    end if;
    session.doubts := array_remove(session.doubts, new.seq);
    if new.status in ('pending', 'sent', 'acknowledged') then
        null;   -- somebody has set it back by hand, and it is under way again
    elsif new.status = 'completed' then
        session.details := session_details(session.details - 'reason', new.result);
        if not late then
            session.known_state := case
                when said in ('pending', 'running', 'hibernated', 'terminated', 'failed') then said
                else goal
            end;
            session.known_by := new.seq;
            session.doubts := array(select seq from unnest(session.doubts) as seq where seq > new.seq);
        end if;
    else
        session.details := session_details(session.details, jsonb_build_object('reason',
            left(format('%s %s: %s', new.action, new.status, coalesce(new.error_message, new.cause)), 1000)));
        if late then
            null;
        elsif new.status = 'failed' and new.action = 'stop_session' and new.error_message ilike 'container not found%' then
            -- The docker-agent's answer to a stop of what is gone, for example when it gets one stop twice.
            session.known_state := 'terminated';
            session.known_by := new.seq;
        elsif new.status = 'failed' and new.attempt > 1 and new.error_message ilike '%already exists%'
            and new.action = 'start_session' and session.known_state = 'pending'
        then
            -- An earlier attempt, whose report was lost, has started it.
            session.doubts := array_append(session.doubts, new.seq);
        elsif new.status = 'failed' or unexecuted then
            -- It changed nothing: a session that did not start has failed, any other is what it was before.
            if new.action = 'start_session' and session.known_state not in ('running', 'hibernated') then
                session.known_state := 'failed';
            end if;
        elsif session.known_state <> goal or session.doubts <> '{}' then
            session.doubts := array_append(session.doubts[greatest(1, cardinality(session.doubts) - 14):], new.seq);
        end if;
    end if;
    perform session_store(session);
    return null;
end $$;
create trigger session_command_ends after update on agent_commands
    for each row when (
        new.session_id is not null
        and new.action in ('start_session', 'stop_session', 'hibernate_session', 'wake_session')
        and new.status is distinct from old.status
        and (new.status in ('completed', 'failed', 'expired', 'cancelled', 'dead', 'timed_out')
            or old.status not in ('pending', 'sent', 'acknowledged')))
    execute function session_command_ends();

-- A deleted agent holds no session any more.
create function agents_end_sessions() returns trigger language plpgsql as $$
begin
    update sessions
    set state = 'terminated',
        known_state = 'terminated',
        doubts = '{}',
        details = session_details(details, '{"reason": "its agent was deleted"}'),
        updated_at = now()
    where agent_id = new.agent_id
      and state <> 'terminated';
    return null;
end $$;
create trigger agents_end_sessions after update of deleted_at on agents
    for each row when (old.deleted_at is null and new.deleted_at is not null)
    execute function agents_end_sessions();
