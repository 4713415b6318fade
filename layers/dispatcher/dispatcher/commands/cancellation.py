"""Cancelling a command."""

from dataclasses import dataclass

from dispatcher.access import audit_log
from dispatcher.access.roles import Operator
from dispatcher.commands import command_records
from dispatcher.commands.command_records import Command
from dispatcher.commands.lifecycle import ENDED, Status
from dispatcher.errors import Conflict
from dispatcher.platform.database import Connection, fetch_one
from dispatcher.platform.gateway import Gateway
from dispatcher.protocol.frames import cancel_message


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTarget:
    """The connection to ask, and the attempt to cancel."""

    connection_id: str
    attempt: int


def cancel(conn: Connection, gateway: Gateway, command_id: str, by: Operator) -> Command:
    """Cancel a pending command at once; ask the agent to stop a command that is under way, if it understands that.

    Raises UnknownCommand, and Conflict for a command that has ended otherwise.
    """
    with conn.transaction():
        agent_id = command_records.find(conn, command_id, by.scope).agent_id
        under_way = request_cancel(conn, command_id, by.username) in {Status.SENT, Status.ACKNOWLEDGED}
        audit_log.record(conn, by.actor, "cancel command", agent_id=agent_id, command_id=command_id)
    if under_way and (target := _target_of(conn, command_id)):
        # Best effort: the agent's report decides how the command ends.
        gateway.post(target.connection_id, cancel_message(command_id, target.attempt))
    command = command_records.find(conn, command_id, by.scope)
    if command.status in ENDED - {Status.CANCELLED}:
        raise Conflict(f"The command is {command.status} and cannot be cancelled.")
    return command


def request_cancel(conn: Connection, command_id: str, operator: str) -> Status | None:
    """Cancel a pending command; mark one that is under way.  Return its status, None if it has ended already."""
    row = conn.execute(
        """
        update agent_commands
        set status = case when status = 'pending' then 'cancelled' else status end,
            completed_at = case when status = 'pending' then clock_timestamp() else completed_at end,
            cause = case when status = 'pending' then 'cancelled by ' || %(operator)s else cause end,
            moves = case when status = 'pending' then moves + 1 else moves end,
            cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
        where command_id = %(command_id)s
          and status in ('pending', 'sent', 'acknowledged')
        returning status
        """,
        {"command_id": command_id, "operator": operator},
    ).fetchone()
    return Status(row[0]) if row else None


def _target_of(conn: Connection, command_id: str) -> CancelTarget | None:
    """Return the connection to ask for a cancel; None if its agent is offline or does not understand the request."""
    return fetch_one(
        conn,
        CancelTarget,
        """
        select a.connection_id, c.attempt
        from agent_commands c
        join agents a using (agent_id)
        where c.command_id = %s
          and c.status in ('sent', 'acknowledged')
          and a.dialect = 'batching'
          and a.connection_id is not null
        """,
        (command_id,),
    )
