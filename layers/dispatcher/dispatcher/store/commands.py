"""Submitting and reading commands."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import kwargs_row
from psycopg.types.json import Jsonb

from dispatcher.commands.model import Command, Move, Status, sources
from dispatcher.platform.database import Connection
from dispatcher.platform.json_text import dumps
from dispatcher.store import scopes
from dispatcher.store.journal import Actor
from dispatcher.store.scopes import Scope

_COLUMNS = """command_id, agent_id, session_id, action, payload, status, error_message, created_at, sent_at,
    acknowledged_at, completed_at, seq, priority, not_before, deliver_by, execution_timeout, max_attempts, attempt,
    cancel_requested_at, result, progress, cause, submitted_by, redrive_of"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCommand:
    """What an operator submits; None means the table's default."""

    agent_id: str
    action: str
    payload: Any = None
    session_id: str | None = None
    priority: int | None = None
    not_before: datetime | None = None
    ttl_seconds: int | None = None
    execution_timeout: int | None = None
    max_attempts: int | None = None
    submitted_by: str | None = None
    idempotency_key: str | None = None
    request_hash: bytes | None = None
    redrive_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What intake holds an agent's queue to."""

    queue: int
    """Commands that may wait."""
    command_bytes: int
    """What one may take of a message."""
    rate: int
    """Commands that one operator may submit a minute; 0: as many as he likes."""


def insert(conn: Connection, new: NewCommand, limits: Limits, scope: Scope, actor: Actor) -> Command | None:
    """Insert a command and the deed, in one statement.

    None where its agent, its size, the queue or its idempotency key forbids it.
    """
    with conn.cursor(row_factory=kwargs_row(_command)) as cursor:
        return cursor.execute(
            f"""
            with added as (insert into agent_commands (agent_id, action, payload, session_id, priority, not_before, deliver_by,
                execution_timeout, max_attempts, submitted_by, idempotency_key, request_hash, redrive_of)
            select a.agent_id, %(action)s, {_PAYLOAD}, %(session_id)s, %(priority)s::smallint,
                %(not_before)s::timestamptz,
                greatest(now(), %(not_before)s::timestamptz) + %(ttl_seconds)s::int * interval '1 second',
                %(execution_timeout)s::int, %(max_attempts)s::int, %(submitted_by)s, %(idempotency_key)s,
                %(request_hash)s::bytea, %(redrive_of)s
            from agents a
            where a.agent_id = %(agent_id)s and a.deleted_at is null and {scopes.AGENT}
              and {_BYTES} <= %(command_bytes)s
              and %(queue)s > (select count(*) from (select 1 from agent_commands w
                    where w.agent_id = a.agent_id and w.status = 'pending'
                    order by w.priority desc, w.seq limit %(queue)s) as waiting)
              and (%(rate)s = 0 or %(rate)s > {_SUBMITTED})
            on conflict (submitted_by, idempotency_key) do nothing
            returning {_COLUMNS}),
            noted as (insert into audit_log (actor, source_ip, action, agent_id, command_id, detail)
                select %(actor)s, %(source_ip)s, 'submit command', agent_id, command_id,
                    jsonb_build_object('action', action, 'redriveOf', redrive_of) from added)
            select * from added
            """,
            {
                **_parameters(new),
                "queue": limits.queue,
                "rate": limits.rate,
                "command_bytes": limits.command_bytes,
                "scope": scopes.as_parameter(scope),
                "actor": actor.name,
                "source_ip": actor.source_ip,
            },
        ).fetchone()


def submitted_in_a_minute(conn: Connection, actor: Actor, most: int) -> int:
    """Count what somebody submitted within the last minute, up to `most`."""
    row = conn.execute(f"select {_SUBMITTED}", {"actor": actor.name, "rate": most}).fetchone()
    return row[0] if row else 0


def size(conn: Connection, new: NewCommand) -> int:
    """Return the bytes that a command would take of a message."""
    row = conn.execute(f"select {_BYTES}", _parameters(new)).fetchone()
    return row[0] if row else 0


_SUBMITTED = """(select count(*) from (select 1 from audit_log l where l.actor = %(actor)s
    and l.at > now() - interval '1 minute' and l.action = 'submit command' limit %(rate)s) as submitted)"""
# What is redriven goes out as it was stored: read into Python, null would become NULL, and 1e400 a text.
_PAYLOAD = """case when %(redrive_of)s::text is null then %(payload)s::jsonb
    else (select o.payload from agent_commands o where o.command_id = %(redrive_of)s) end"""
_BYTES = f"""command_bytes(%(action)s::text, %(session_id)s::text, {_PAYLOAD}, %(execution_timeout)s::int,
    %(max_attempts)s::int)"""


def _parameters(new: NewCommand) -> dict[str, Any]:
    return {
        "agent_id": new.agent_id,
        "action": new.action,
        "payload": None if new.payload is None else Jsonb(new.payload, dumps=dumps),
        "session_id": new.session_id,
        "priority": new.priority,
        "not_before": new.not_before,
        "ttl_seconds": new.ttl_seconds,
        "execution_timeout": new.execution_timeout,
        "max_attempts": new.max_attempts,
        "submitted_by": new.submitted_by,
        "idempotency_key": new.idempotency_key,
        "request_hash": new.request_hash,
        "redrive_of": new.redrive_of,
    }


def _command(*, status: str, **columns: Any) -> Command:
    return Command(status=Status(status), **columns)


def get(conn: Connection, command_id: str, scope: Scope) -> Command | None:
    """Read one command."""
    with conn.cursor(row_factory=kwargs_row(_command)) as cursor:
        return cursor.execute(
            f"select {_COLUMNS} from agent_commands c where command_id = %(command_id)s and {scopes.OF_AGENT}",
            {"command_id": command_id, "scope": scopes.as_parameter(scope)},
        ).fetchone()


def by_idempotency_key(conn: Connection, operator: str, key: str) -> tuple[Command, bytes] | None:
    """Read the command that an operator's idempotency key stands for, and the hash of its request."""
    with conn.cursor(row_factory=kwargs_row(_hashed)) as cursor:
        return cursor.execute(
            f"select {_COLUMNS}, request_hash from agent_commands where submitted_by = %s and idempotency_key = %s",
            (operator, key),
        ).fetchone()


def _hashed(*, request_hash: bytes, **columns: Any) -> tuple[Command, bytes]:
    return _command(**columns), request_hash


def list_page(
    conn: Connection,
    *,
    scope: Scope,
    agent_id: str | None,
    session_id: str | None,
    status: Status | None,
    before: int | None,
    limit: int,
) -> list[Command]:
    """Read a page of commands, the newest first, older than the sequence number `before`."""
    filtered = agent_id is not None or session_id is not None or status is not None
    # Each list has the spelling of its own index (schema/0001): the planner has no other to walk.
    older, newest = ("seq < %(before)s", "seq desc") if filtered else ("-seq > -%(before)s::bigint", "-seq")
    with conn.cursor(row_factory=kwargs_row(_command)) as cursor:
        return cursor.execute(
            f"""
            select {_COLUMNS} from agent_commands c
            where {scopes.OF_AGENT} and (%(agent_id)s::text is null or ('' || agent_id) = %(agent_id)s)
              and (%(session_id)s::text is null or ('' || session_id) = %(session_id)s)
              and (%(status)s::text is null or lower(status) = %(status)s)
              and (%(before)s::bigint is null or {older})
            order by {newest} limit %(limit)s
            """,
            {
                "scope": scopes.as_parameter(scope),
                "agent_id": agent_id,
                "session_id": session_id,
                "status": status,
                "before": before,
                "limit": limit,
            },
        ).fetchall()


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One transition of a command."""

    from_status: str | None
    to_status: str
    attempt: int
    cause: str
    at: datetime


def history(conn: Connection, command_id: str) -> list[HistoryEntry]:
    """Read a command's transitions, the oldest first."""
    with conn.cursor(row_factory=kwargs_row(HistoryEntry)) as cursor:
        return cursor.execute(
            """select from_status, to_status, attempt, cause, at from command_history
               where command_id = %s order by history_id""",
            (command_id,),
        ).fetchall()


def cancel(conn: Connection, command_id: str, operator: str) -> Status | None:
    """Cancel a pending command at once; mark one that is under way as asked to stop.  None: neither was possible."""
    row = conn.execute(
        """
        update agent_commands set
            status = case when status = any(%(cancellable)s) then 'cancelled' else status end,
            completed_at = case when status = any(%(cancellable)s) then clock_timestamp() else completed_at end,
            cause = case when status = any(%(cancellable)s) then 'cancelled by ' || %(operator)s else cause end,
            cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
        where command_id = %(command_id)s and (status || '') = any(%(cancellable)s || array['sent', 'acknowledged'])
        returning status
        """,
        {"command_id": command_id, "operator": operator, "cancellable": sources(Move.CANCEL)},
    ).fetchone()
    return Status(row[0]) if row else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """Whom to ask to cancel which attempt."""

    connection_id: str
    attempt: int


def cancellation_of(conn: Connection, command_id: str) -> Cancellation | None:
    """Tell whom to ask to cancel a command; None where its agent is away or does not understand it."""
    with conn.cursor(row_factory=kwargs_row(Cancellation)) as cursor:
        return cursor.execute(
            """select a.connection_id, c.attempt from agent_commands c join agents a using (agent_id)
               where c.command_id = %s and c.status in ('sent', 'acknowledged') and a.dialect = 'batching'
                 and a.connection_id is not null""",
            (command_id,),
        ).fetchone()
