"""Commands as they are stored: read one, a page of them, or a command's history."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dispatcher.access.scopes import OWNER_IN_SCOPE, Scope, as_parameter
from dispatcher.commands.lifecycle import Status
from dispatcher.errors import UnknownCommand
from dispatcher.platform.database import Connection, fetch_all, fetch_one


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command."""

    command_id: str
    agent_id: str
    session_id: str | None
    action: str
    payload: Any
    status: Status
    error_message: str | None
    created_at: datetime
    sent_at: datetime | None
    acknowledged_at: datetime | None
    completed_at: datetime | None
    seq: int
    priority: int
    not_before: datetime | None
    deliver_by: datetime | None
    execution_timeout: int
    max_attempts: int
    attempt: int
    cancel_requested_at: datetime | None
    result: Any
    progress: Any
    cause: str
    submitted_by: str | None
    redrive_of: str | None

    @classmethod
    def from_row(cls, *, status: str, **columns: Any) -> "Command":
        """Make a command of a row's columns."""
        return cls(status=Status(status), **columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One transition of a command."""

    from_status: str | None
    to_status: str
    attempt: int
    cause: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which commands a list shows; None: any."""

    agent_id: str | None = None
    session_id: str | None = None
    status: Status | None = None


COLUMNS = """command_id, agent_id, session_id, action, payload, status, error_message, created_at, sent_at,
    acknowledged_at, completed_at, seq, priority, not_before, deliver_by, execution_timeout, max_attempts, attempt,
    cancel_requested_at, result, progress, cause, submitted_by, redrive_of"""


def find(conn: Connection, command_id: str, scope: Scope) -> Command:
    """Read a command; raises UnknownCommand."""
    command = fetch_one(
        conn,
        Command.from_row,
        f"select {COLUMNS} from agent_commands c where command_id = %(command_id)s and {OWNER_IN_SCOPE}",
        {"command_id": command_id, "scope": as_parameter(scope)},
    )
    if command is None:
        raise UnknownCommand(f"There is no command {command_id!r}.", commandId=command_id)
    return command


def list_page(
    conn: Connection, *, scope: Scope, wanted: Filter, before: int | None = None, limit: int
) -> list[Command]:
    """Read a page of commands, newest first, with a sequence number below `before`."""
    parameters = {
        "scope": as_parameter(scope),
        "agent_id": wanted.agent_id,
        "session_id": wanted.session_id,
        "status": wanted.status,
        "before": before,
        "limit": limit,
    }
    if wanted == Filter():
        return fetch_all(
            conn,
            Command.from_row,
            f"""
            select {COLUMNS}
            from commands_by_own_index c
            where {OWNER_IN_SCOPE}
              and (%(before)s::bigint is null or listed_order > -%(before)s::bigint)
            order by listed_order
            limit %(limit)s
            """,
            parameters,
        )
    return fetch_all(
        conn,
        Command.from_row,
        f"""
        select {COLUMNS}
        from commands_by_own_index c
        where {OWNER_IN_SCOPE}
          and (%(agent_id)s::text is null or listed_agent_id = %(agent_id)s)
          and (%(session_id)s::text is null or listed_session_id = %(session_id)s)
          and (%(status)s::text is null or listed_status = %(status)s)
          and (%(before)s::bigint is null or seq < %(before)s)
        order by seq desc
        limit %(limit)s
        """,
        parameters,
    )


def history(conn: Connection, command_id: str, scope: Scope) -> list[HistoryEntry]:
    """Read a command's transitions, oldest first; raises UnknownCommand."""
    find(conn, command_id, scope)
    return fetch_all(
        conn,
        HistoryEntry,
        """
        select from_status, to_status, attempt, cause, at
        from command_history
        where command_id = %s
        order by history_id
        """,
        (command_id,),
    )
