-- `a` is an agent that can be posted to now and has a command to be posted.  A post during the handshake would get a 410.
-- `live` says that the handshake is over; if flush did not run, we assume it after 10 s, because no agent waits longer.
-- The probe of the queue is ordered like its index and has an offset, so that the planner does not turn it into a join with
-- the queues of all agents.
    a.connection_id is not null
    and a.approval = 'approved'
    and (a.live or a.connected_at < now() - interval '10 seconds')
    and (a.lease_expires_at is null or a.lease_expires_at <= now())
    and (a.throttled_until is null or a.throttled_until <= now())
    and (a.dialect = 'silent'
        or a.delivery_window > (
            select count(*)
            from (
                select 1
                from agent_commands f
                where f.agent_id = a.agent_id
                  and f.status = 'sent'
                limit a.delivery_window) as in_flight))
    and exists (
        select from agent_commands c
        where c.agent_id = a.agent_id
          and c.status = 'pending'
          and (c.not_before is null or c.not_before <= now())
          and (c.deliver_by is null or c.deliver_by > now())
          and (a.dialect <> 'silent' or not exists (
            select from agent_commands f
            where f.agent_id = a.agent_id
              and f.status = 'sent'
              and f.session_id is not distinct from c.session_id))
        order by c.priority desc, c.seq
        offset 0)
