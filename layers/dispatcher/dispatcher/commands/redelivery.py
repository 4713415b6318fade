"""Attempts whose ack did not come in time: their commands return to the queue, or are dead-lettered."""

from dispatcher.platform.database import Connection
from dispatcher.platform.functions import call

# An agent that executes in its read loop cannot acknowledge at the same time.  So while it executes a command of the same
# connection, a missing ack of the next command does not count: until the execution timeout of that command, and at most for
# five minutes.
_RETURN = call("""
    select {f}.end_attempts(
        coalesce(array_agg(s.command_id), '{}'),
        coalesce(array_agg(s.moves), '{}'),
        coalesce(array_agg('attempt ' || s.attempt || ' was not acknowledged in time'), '{}'),
        true)
    from (
        select s.command_id, s.attempt, s.moves
        from agent_commands s
        where s.status = 'sent'
          and s.ack_deadline <= now()
          and (s.ack_deadline <= now() - interval '5 minutes' or not exists (
            select
            from agent_commands busy
            join agents a on a.agent_id = busy.agent_id and a.epoch = busy.epoch
            where busy.agent_id = s.agent_id
              and busy.status = 'acknowledged'
              and busy.epoch = s.epoch
              and busy.execution_deadline > now()
              and a.connection_id is not null))
        order by s.ack_deadline
        limit %s
        for update of s skip locked) as s
    """)


def return_unacknowledged(conn: Connection, limit: int) -> int:
    """End up to `limit` attempts that were not acknowledged in time; return how many commands moved."""
    row = conn.execute(_RETURN, (limit,)).fetchone()
    return row[0] if row else 0
