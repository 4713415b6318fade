"""What the clocks do to commands that nobody reports about.  Each pass is bounded by `limit` and returns the rows it moved."""

from dispatcher.commands.model import Move, sources
from dispatcher.platform.database import Connection
from dispatcher.store.delivery import give_back

# `status || ''` instead of `status` hides it from the planner.  While its statistics are of a time when nothing was pending, it
# takes every index of pending commands for empty, picks any of them, and would walk a million entries.


def expire(conn: Connection, limit: int) -> int:
    """End pending commands whose time to wait is over."""
    return conn.execute(
        """
        update agent_commands set status = 'expired', completed_at = clock_timestamp(),
            error_message = 'not delivered in time', cause = 'not delivered by ' || deliver_by
        where command_id = any(array(
            select command_id from agent_commands where ('' || status) = 'pending' and deliver_by <= now()
            order by deliver_by limit %s for update skip locked)) and (status || '') = any(%s)
        """,
        (limit, sources(Move.EXPIRE)),
    ).rowcount


def release_unacknowledged(conn: Connection, limit: int) -> int:
    """End attempts that were not acknowledged in time.

    An agent that executes in its read loop acknowledges nothing meanwhile: as long as it has an acknowledged command of the
    same connection, the next one's silence means nothing.
    """
    return give_back(
        conn,
        """
        select s.command_id, s.attempt, 'attempt ' || s.attempt || ' was not acknowledged in time' as cause
        from agent_commands s where s.status = 'sent' and s.ack_deadline <= now()
            and not exists (
                select from agent_commands busy join agents a on a.agent_id = busy.agent_id and a.epoch = busy.epoch
                where busy.agent_id = s.agent_id and busy.status = 'acknowledged' and busy.epoch = s.epoch
                  and busy.execution_deadline > now() and a.connection_id is not null)
        order by s.ack_deadline limit %s for update of s skip locked
        """,
        (limit,),
    )


def release_superseded(conn: Connection, agent_id: str, epoch: int) -> int:
    """End attempts that went over the agent's older connections and were not acknowledged there."""
    return give_back(
        conn,
        """
        select command_id, attempt, 'attempt ' || attempt || ' was not acknowledged before the agent reconnected' as cause
        from agent_commands where agent_id = %s and status = 'sent' and (epoch is null or epoch < %s)
        """,
        (agent_id, epoch),
    )


def time_out(conn: Connection, limit: int) -> int:
    """Give up on acknowledged commands that have run for too long; a real result still replaces this end."""
    return conn.execute(
        """
        update agent_commands set status = 'timed_out', completed_at = clock_timestamp(), execution_deadline = null,
            error_message = format('no result within %%s seconds of the ack', execution_timeout),
            cause = 'no result within ' || execution_timeout || ' seconds of the ack'
        where command_id = any(array(
            select command_id from agent_commands where status = 'acknowledged' and execution_deadline <= now()
            order by execution_deadline limit %s for update skip locked)) and (status || '') = any(%s)
        """,
        (limit, sources(Move.TIME_OUT)),
    ).rowcount


def prune(conn: Connection, retention_days: int, limit: int) -> int:
    """Delete commands that ended long ago, with their history."""
    return conn.execute(
        """
        with old as (
            delete from agent_commands where command_id = any(array(
                select command_id from agent_commands where completed_at < now() - %s * interval '1 day'
                and status not in ('pending', 'sent', 'acknowledged')
                order by completed_at limit %s for update skip locked))
            returning command_id
        ), forgotten as (delete from command_history where command_id in (select command_id from old))
        select from old
        """,
        (retention_days, limit),
    ).rowcount
