-- Take the lease of an agent, if it can be posted to and has a command to post.
update agents a
set lease_token = %(token)s,
    lease_expires_at = clock_timestamp() + %(lease_seconds)s * interval '1 second'
where a.agent_id = %(agent_id)s
  and ({deliverable})
returning a.connection_id, a.epoch, a.dialect
