-- When an agent said what is stored.  A message may be kept while the database is away, or be handled slowly, so that a newer one
-- is settled first: then the older one must not put progress and states back.  The time is the gateway's: it receives the
-- messages in their order.
alter table agent_commands add said_at timestamptz;   -- the last progress or end
alter table sessions add said_at timestamptz;         -- the state

-- What an agent says about one of its sessions: it ends every doubt.  False: this agent has no such session.  `at`: when it said
-- so; null: now.
drop function session_reported(text, text, text, jsonb);
create function session_reported(at_agent text, of_session text, said text, said_details jsonb, at timestamptz default null)
    returns boolean
    language plpgsql as $$
declare
    session sessions := session_locked(of_session, at_agent);
begin
    if session.name is null then
        return false;
    end if;
    if session.said_at > coalesce(at, now()) then
        -- A newer state is known already: nothing of it is overwritten.
        session.details := session_details(session_details(null, said_details), session.details);
    else
        if said is not null then
            session.known_state := said;
            session.doubts := '{}';
            session.details := session.details - 'reason';
            update sessions s set said_at = coalesce(at, now()) where s.name = session.name;
        end if;
        session.details := session_details(session.details, said_details);
    end if;
    perform session_store(session);
    return true;
end $$;

-- However a command ends: by its agent's report, a deadline, a cancel, or by hand; and however often, because the agent's result
-- may replace a guess.
create or replace function session_command_ends() returns trigger language plpgsql as $$
declare
    session sessions := session_locked(new.session_id, new.agent_id);
    goal text := session_goal(new.action);
    said text := coalesce(new.result ->> 'state', new.result ->> 'status');
    -- The outcome of a later command is known already, or a state that the agent reported later: this one tells nothing about
    -- the present.
    late boolean := new.seq < session.known_by
        or new.status in ('completed', 'failed') and coalesce(new.said_at < session.said_at, false);
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
        if late then
            session.details := session_details(session_details(null, new.result), session.details);
        else
            session.details := session_details(session.details - 'reason', new.result);
            session.known_state := case
                when said in ('pending', 'running', 'hibernated', 'terminated', 'failed') then said
                else goal
            end;
            session.known_by := new.seq;
            session.doubts := array(select seq from unnest(session.doubts) as seq where seq > new.seq);
            update sessions s set said_at = coalesce(new.said_at, s.said_at) where s.name = session.name;
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
