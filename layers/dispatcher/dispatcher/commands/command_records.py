"""Commands as they are stored: read one, a page of them, or a command's history."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which commands a list shows; None: any."""

    agent_id: str | None = None
    session_id: str | None = None
    statuses: frozenset[Status] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Commands, newest first, and whether more of them follow."""

    commands: list[Command]
    more: bool


LARGE_COLUMNS = ("payload", "result", "progress")
"""Columns that a list shows only when it is asked for them."""

_LIGHT_COLUMNS = """command_id, agent_id, session_id, action, status, error_message, created_at, sent_at, acknowledged_at,
    completed_at, seq, priority, not_before, deliver_by, execution_timeout, max_attempts, attempt, cancel_requested_at, cause,
    submitted_by, redrive_of, correlation_id"""
COLUMNS = f"{_LIGHT_COLUMNS}, payload, result, progress"
ROW_BYTES = 1000
"""About what the columns of a command take in an answer that are not measured."""


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
    conn: Connection,
    *,
    scope: Scope,
    wanted: Filter,
    before: int | None = None,
    limit: int,
    most_bytes: int,
    include: Collection[str] = (),
) -> Page:
    """Read a page of commands, newest first, with a sequence number below `before`.

    It ends at `limit` commands, or before about `most_bytes`, but never before its first command.  Of LARGE_COLUMNS, those
    that are not in `include` are None.
    """
    payload = "payload" if "payload" in include else "null::jsonb as payload"
    result = "result" if "result" in include else "null::jsonb as result"
    progress = "progress" if "progress" in include else "null::jsonb as progress"
    rows = fetch_all(
        conn,
        _listed,
        f"""
        with matching as (
            {_matching(wanted)}
        ), numbered as (
            select command_id, row_number() over (order by seq desc) as place
            from matching
        ), measured as (
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
            from numbered m
            join (select {_LIGHT_COLUMNS}, {payload}, {result}, {progress} from agent_commands) c using (command_id)
            where m.place <= %(limit)s
        )
        select {COLUMNS}, exists (select from numbered n where n.place > m.place) as more
        from measured m
        where bytes <= %(most_bytes)s
           or place = 1
        order by place
        """,
        {
            "scope": as_parameter(scope),
            "agent_id": wanted.agent_id,
            "session_id": wanted.session_id,
            "statuses": None if wanted.statuses is None else sorted(wanted.statuses),
            "before": before,
            "limit": limit,
            "row_bytes": ROW_BYTES,
            "most_bytes": most_bytes,
        },
    )
    return Page(commands=[command for command, _ in rows], more=bool(rows) and rows[-1][1])


def _listed(*, more: bool, **columns: Any) -> tuple[Command, bool]:
    return Command.from_row(**columns), more


def _matching(wanted: Filter) -> LiteralString:
    """Return the statement for the newest commands that a list shows, and one more, by the index that fits the filter."""
    if wanted == Filter():
        return f"""
            select command_id, seq
            from command_list c
            where {OWNER_IN_SCOPE}
              and (%(before)s::bigint is null or seq < %(before)s)
            order by seq desc
            limit %(limit)s + 1
            """
    if wanted.agent_id is None and wanted.session_id is None:
        # Each status has its own part of the index, in order.
        return f"""
            select newest.command_id, newest.seq
            from unnest(%(statuses)s::text[]) as asked (status)
            cross join lateral (
                select command_id, seq
                from commands_by_own_index c
                where {OWNER_IN_SCOPE}
                  and listed_status = asked.status
                  and (%(before)s::bigint is null or seq < %(before)s)
                order by seq desc
                limit %(limit)s + 1) as newest
            order by newest.seq desc
            limit %(limit)s + 1
            """
    return f"""
            select c.command_id, c.seq
            from command_list c
            -- One look-up for each row of the list, whatever the statistics say: hence the offset.
            cross join lateral (
                select status from agent_commands now where now.command_id = c.command_id offset 0) as now
            where {OWNER_IN_SCOPE}
              and (%(agent_id)s::text is null or c.agent_id = %(agent_id)s)
              and (%(session_id)s::text is null or c.session_id = %(session_id)s)
              and (%(statuses)s::text[] is null or now.status = any(%(statuses)s))
              and (%(before)s::bigint is null or c.seq < %(before)s)
            order by c.seq desc
            limit %(limit)s + 1
            """


def history(
    conn: Connection, command_id: str, scope: Scope, *, after: int | None = None, limit: int | None = None
) -> list[HistoryEntry]:
    """Read a command's transitions, oldest first, with a history_id above `after`; raises UnknownCommand."""
    _require(conn, command_id, scope)
    return fetch_all(
        conn,
        HistoryEntry,
        """
        select history_id, from_status, to_status, attempt, cause, at
        from command_history
        where command_id = %(command_id)s
          and history_id > coalesce(%(after)s, 0)
        order by history_id
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
        raise UnknownCommand(f"There is no command {command_id!r}.", commandId=command_id)
