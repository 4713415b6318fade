"""Cancelling a command: intent that waits until the agent has heard of it."""

from collections.abc import Sequence

from dispatcher.access import audit_log
from dispatcher.access.roles import Operator
from dispatcher.commands import command_records
from dispatcher.commands.command_records import Command
from dispatcher.commands.delivery import Deadline, deliver_at_once
from dispatcher.commands.lifecycle import ENDED, Status
from dispatcher.errors import Conflict
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Gateway


def cancel(conn: Connection, gateway: Gateway, command_id: str, by: Operator, deadline: Deadline) -> Command:
    """Cancel a pending command at once; have the agent told to stop a command that is under way or has timed out.

    An agent of protocol 2 is told over each connection until the command ends; its report decides how that is.  Raises
    UnknownCommand, and Conflict for a command that has ended otherwise.
    """
    with conn.transaction():
        command = command_records.find(conn, command_id, by.scope)
        status = request_cancel(conn, command_id, by.username)
        if status is not None:
            audit_log.record(conn, by.actor, "cancel command", agent_id=command.agent_id, command_id=command_id)
    if status in {Status.SENT, Status.ACKNOWLEDGED, Status.TIMED_OUT} or (status and command.attempt > 0):
        deliver_at_once(conn, gateway, command.agent_id, deadline)
    command = command_records.find(conn, command_id, by.scope)
    if status is None and command.status in ENDED - {Status.CANCELLED}:
        raise Conflict(f"The command is {command.status} and cannot be cancelled.")
    return command


# An attempt that was given up may have reached the agent, so the agent is told to stop a pending command too.
_CANCEL = """
        update agent_commands
        set status = case when status = 'pending' then 'cancelled' else status end,
            completed_at = case when status = 'pending' then clock_timestamp() else completed_at end,
            cause = case when status = 'pending' then 'cancelled by ' || %(operator)s else cause end,
            moves = case when status = 'pending' then moves + 1 else moves end,
            cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()),
            stop_wanted = attempt > 0,
            stop_epoch = null
        where status in ('pending', 'sent', 'acknowledged', 'timed_out')
"""


def request_cancel(conn: Connection, command_id: str, operator: str) -> Status | None:
    """Cancel a pending command; mark one that is under way or timed out.  Return its status, None if it has ended otherwise.

    A second request has the agent told again.
    """
    row = conn.execute(
        f"{_CANCEL} and command_id = %(command_id)s returning status",
        {"command_id": command_id, "operator": operator},
    ).fetchone()
    return Status(row[0]) if row else None


def request_cancels(conn: Connection, ids: Sequence[str], operator: str) -> tuple[int, list[str]]:
    """Do the same for many commands; return how many changed, and the agents that are to be told.

    They are locked in the order in which the delivery locks those of an agent, so that neither waits for the other for ever.
    """
    rows = conn.execute(
        f"""
        with locked as materialized (
            select c.command_id
            from agent_commands c
            where c.command_id = any(%(ids)s)
              and c.status in ('pending', 'sent', 'acknowledged', 'timed_out')
            order by c.agent_id, c.priority desc, c.seq
            for no key update
        )
        {_CANCEL}
          and command_id = any(array(select command_id from locked))
        returning agent_id, stop_wanted
        """,
        {"ids": list(ids), "operator": operator},
    ).fetchall()
    return len(rows), [agent_id for agent_id, stop_wanted in rows if stop_wanted]
