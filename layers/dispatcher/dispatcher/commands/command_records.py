"""Commands as they are stored: read one, a page of them, or a command's history."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dispatcher.access.scopes import OWNER_IN_SCOPE, Scope, as_parameter
from dispatcher.commands import command_lists
from dispatcher.commands.command_lists import Filter, Position
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
    correlation_id: str | None

    @classmethod
    def from_row(cls, *, status: str, **columns: Any) -> "Command":
        """Make a command of a row's columns."""
        return cls(status=Status(status), **columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One transition of a command."""

    history_id: int
    from_status: str | None
    to_status: str
    attempt: int
    cause: str
    at: datetime
    correlation_id: str | None
    """The command's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Commands, newest first, and where the next page begins; None: nothing follows."""

    commands: list[Command]
    next: Position | None


LARGE_COLUMNS = ("payload", "result", "progress")
"""Columns that a list shows only when it is asked for them."""

_LIGHT_COLUMNS = """command_id, agent_id, session_id, action, status, error_message, created_at, sent_at, acknowledged_at,
    completed_at, seq, priority, not_before, deliver_by, execution_timeout, max_attempts, attempt, cancel_requested_at, cause,
    submitted_by, redrive_of, correlation_id"""
COLUMNS = f"{_LIGHT_COLUMNS}, payload, result, progress"
ROW_BYTES = 1000
"""About what the columns of a command take in an answer that are not measured."""


def unknown(command_id: str) -> UnknownCommand:
    """Make the error about a command that does not exist, or that the caller may not see."""
    return UnknownCommand(f"There is no command {command_id!r}.", commandId=command_id)


def find(conn: Connection, command_id: str, scope: Scope) -> Command:
    """Read a command; raises UnknownCommand."""
    command = fetch_one(
        conn,
        Command.from_row,
        f"select {COLUMNS} from agent_commands c where command_id = %(command_id)s and {OWNER_IN_SCOPE}",
        {"command_id": command_id, "scope": as_parameter(scope)},
    )
    if command is None:
        raise unknown(command_id)
    return command


def list_page(
    conn: Connection,
    *,
    scope: Scope,
    wanted: Filter,
    before: Position | None = None,
    limit: int,
    most_bytes: int,
    include: Collection[str] = (),
) -> Page:
    """Read a page of commands, newest first, that were accepted before the position `before`.

    It ends at `limit` commands, or before about `most_bytes`, but never before its first command; or earlier, even without a
    command, where no index fits the filter and reading on would take long.  Of LARGE_COLUMNS, those that are not in `include`
    are None.
    """
    found = command_lists.find(conn, scope=scope, wanted=wanted, before=before, limit=limit)
    payload = "payload" if "payload" in include else "null::jsonb as payload"
    result = "result" if "result" in include else "null::jsonb as result"
    progress = "progress" if "progress" in include else "null::jsonb as progress"
    commands = fetch_all(
        conn,
        Command.from_row,
        f"""
        with measured as (
            select
                m.place,
                c.*,
                sum(
                    %(row_bytes)s
                    + coalesce(octet_length(error_message), 0)
                    + octet_length(cause)
                    + coalesce(octet_length(payload::text), 0)
                    + coalesce(octet_length(result::text), 0)
                    + coalesce(octet_length(progress::text), 0)
                ) over (order by m.place) as bytes
            from unnest(%(ids)s::text[]) with ordinality as m (command_id, place)
            join (select {_LIGHT_COLUMNS}, {payload}, {result}, {progress} from agent_commands) c using (command_id)
        )
        select {COLUMNS}
        from measured m
        where bytes <= %(most_bytes)s
           or place = 1
        order by place
        """,
        {"ids": found.ids, "row_bytes": ROW_BYTES, "most_bytes": most_bytes},
    )
    # A command that was deleted meanwhile is left out.
    was_cut = bool(commands) and commands[-1].command_id != found.ids[-1]
    return Page(commands=commands, next=position_of(commands[-1]) if was_cut else found.next)


def read_light(conn: Connection, ids: Sequence[str]) -> list[Command]:
    """Read commands without LARGE_COLUMNS, in the order of acceptance."""
    return fetch_all(
        conn,
        Command.from_row,
        f"""
        select {_LIGHT_COLUMNS}, null as payload, null as result, null as progress
        from agent_commands
        where command_id = any(%s)
        order by seq
        """,
        (list(ids),),
    )


def position_of(command: Command) -> Position:
    """Return the place of a command in the lists."""
    return Position(at=command.created_at, seq=command.seq)


def history(
    conn: Connection, command_id: str, scope: Scope, *, after: int | None = None, limit: int | None = None
) -> list[HistoryEntry]:
    """Read a command's transitions, oldest first, with a history_id above `after`; raises UnknownCommand."""
    _require(conn, command_id, scope)
    return fetch_all(
        conn,
        HistoryEntry,
        """
        select h.history_id, h.from_status, h.to_status, h.attempt, h.cause, h.at, c.correlation_id
        from command_history h
        join agent_commands c on c.command_id = h.command_id
        where h.command_id = %(command_id)s
          and h.history_id > coalesce(%(after)s, 0)
        order by h.history_id
        limit %(limit)s
        """,
        {"command_id": command_id, "after": after, "limit": limit},
    )


def _require(conn: Connection, command_id: str, scope: Scope) -> None:
    """Raise UnknownCommand unless there is the command."""
    found = conn.execute(
        f"select from agent_commands c where command_id = %(command_id)s and {OWNER_IN_SCOPE}",
        {"command_id": command_id, "scope": as_parameter(scope)},
    )
    if not found.rowcount:
        raise unknown(command_id)
