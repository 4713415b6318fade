"""Deadlines: expire, time out, prune.  Each function moves up to `limit` rows and returns how many.

Each statement first chooses and locks its rows, in a CTE that the planner must not merge; a locked row keeps its status.
Then it names them by an array, so that the planner looks each up by its key.
"""

from dispatcher.platform.database import Connection


def expire(conn: Connection, limit: int) -> int:
    """End pending commands that were not delivered by their `deliver_by`."""
    return conn.execute(
        """
        with overdue as materialized (
            select c.command_id
            from commands_by_own_index c
            where c.expiring_status = 'pending'
              and c.deliver_by <= now()
            order by c.deliver_by
            limit %s
            for update skip locked
        )
        update agent_commands c
        set status = 'expired',
            moves = c.moves + 1,
            completed_at = clock_timestamp(),
            error_message = concat_ws('; the agent reported: ', 'not delivered in time', c.agent_error),
            cause = 'not delivered by ' || c.deliver_by
        where c.command_id = any(array(select command_id from overdue))
        """,
        (limit,),
    ).rowcount


def time_out(conn: Connection, limit: int) -> int:
    """End acknowledged commands that have run for too long; the agent's real result still replaces this end."""
    return conn.execute(
        """
        with overdue as materialized (
            select c.command_id
            from agent_commands c
            where c.status = 'acknowledged'
              and c.execution_deadline <= now()
            order by c.execution_deadline
            limit %s
            for update skip locked
        )
        update agent_commands c
        set status = 'timed_out',
            moves = c.moves + 1,
            completed_at = clock_timestamp(),
            execution_deadline = null,
            stop_wanted = true,  -- the agent is told to stop it, over each connection, until it reports an end
            error_message = concat_ws('; the agent reported: ',
                'no result within ' || c.execution_timeout || ' seconds of the ack', c.agent_error),
            cause = 'no result within ' || c.execution_timeout || ' seconds of the ack'
        where c.command_id = any(array(select command_id from overdue))
        """,
        (limit,),
    ).rowcount


def end_orphans(conn: Connection, limit: int) -> int:
    """Cancel commands that were accepted for an agent while it was being deleted; its id may be in use again."""
    return conn.execute(
        """
        with orphans as materialized (
            select first.command_id
            from agents a
            cross join lateral (
                select c.command_id
                from agent_commands c
                where c.agent_id = a.agent_id
                  and c.status = 'pending'
                  and (c.incarnation < a.incarnation or c.incarnation = a.incarnation and a.deleted_at is not null)
                order by c.priority desc, c.seq
                limit %s
                for update skip locked) as first
            where a.deleted_at > now() - interval '1 hour'
               or (a.incarnation > 1 and a.created_at > now() - interval '1 hour')
        )
        update agent_commands c
        set status = 'cancelled',
            moves = c.moves + 1,
            completed_at = clock_timestamp(),
            error_message = concat_ws('; the agent reported: ', 'its agent was deleted', c.agent_error),
            cause = 'its agent was deleted'
        where c.command_id = any(array(select command_id from orphans))
        """,
        (limit,),
    ).rowcount


def prune(conn: Connection, retention_days: int, limit: int) -> int:
    """Delete commands that ended more than `retention_days` ago, with their history."""
    return conn.execute(
        """
        with old as materialized (
            select c.command_id
            from agent_commands c
            where c.completed_at < now() - %s * interval '1 day'
              and c.status not in ('pending', 'sent', 'acknowledged')
            order by c.completed_at
            limit %s
            for update skip locked
        ), deleted as (
            delete from agent_commands
            where command_id = any(array(select command_id from old))
            returning command_id
        ), forgotten as (
            delete from command_history
            where command_id in (select command_id from deleted)
        )
        select command_id from deleted
        """,
        (retention_days, limit),
    ).rowcount
