"""Cancelling a command: intent that waits until the agent has heard of it."""

from collections.abc import Sequence

from dispatcher.access import audit_log
from dispatcher.access.roles import Operator
from dispatcher.access.scopes import OWNER_IN_SCOPE, as_parameter
from dispatcher.commands import command_records
from dispatcher.commands.command_records import COLUMNS, Command
from dispatcher.commands.delivery import Deadline, deliver_at_once
from dispatcher.commands.lifecycle import ALIVE, Status
from dispatcher.errors import Conflict
from dispatcher.platform.database import Connection, fetch_one
from dispatcher.platform.gateway import Gateway

CANCELLABLE = ALIVE | {Status.TIMED_OUT}
"""The statuses in which a cancel has an effect, as `_CANCEL` has them."""


def cancel(conn: Connection, gateway: Gateway, command_id: str, by: Operator, deadline: Deadline) -> Command:
    """Cancel a pending command at once; have the agent told to stop a command that is under way or has timed out.

    An agent of protocol 2 is told over each connection until the command ends; its report decides how that is.  Raises
    UnknownCommand, and Conflict for a command that has ended otherwise.
    """
    cancelled = request_cancel(conn, command_id, by)
    if cancelled is None:
        command = command_records.find(conn, command_id, by.scope)
        if command.status in CANCELLABLE:
            raise command_records.unknown(command_id)  # the operator's limit did not cover it a moment ago
        if command.status is not Status.CANCELLED:
            raise Conflict(f"The command is {command.status} and cannot be cancelled.")
        return command
    if cancelled.attempt > 0:  # its agent may execute it
        deliver_at_once(conn, gateway, cancelled.agent_id, deadline)
    return cancelled


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
# Whether the agent is connected is left to the claim after it: this statement may have waited for the command's row.
_CANCEL_ONE = f"""
        with asked as materialized (
            select c.command_id
            from agent_commands c
            where c.command_id = %(command_id)s
              and {OWNER_IN_SCOPE}
        ), changed as (
            {_CANCEL}
              and command_id = (select command_id from asked)
            returning *
        ), audited as (
            {audit_log.insert_from("changed")}
        )
        select {COLUMNS}
        from changed
"""


def request_cancel(conn: Connection, command_id: str, by: Operator) -> Command | None:
    """Cancel a pending command; mark one that is under way or timed out.

    None if it has ended otherwise, or the operator sees no such command.  A second request has the agent told again.
    """
    return fetch_one(
        conn,
        Command.from_row,
        _CANCEL_ONE,
        {
            "command_id": command_id,
            "operator": by.username,
            "scope": as_parameter(by.scope),
            **audit_log.parameters_of(by.actor, "cancel command"),
        },
    )


def request_cancels(conn: Connection, ids: Sequence[str], operator: str) -> tuple[int, list[str]]:
    """Cancel or mark many commands, without their audit entries; return how many changed, and the agents that are to be told.

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
