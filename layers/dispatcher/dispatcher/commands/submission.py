"""Submission: a command is accepted when it is committed, and only then."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NoReturn

from psycopg.types.json import Jsonb

from dispatcher.access.roles import Operator
from dispatcher.access.scopes import AGENT_IN_SCOPE, as_parameter
from dispatcher.agents import registry
from dispatcher.commands import command_records
from dispatcher.commands.command_records import COLUMNS, Command
from dispatcher.commands.lifecycle import ENDED, Status
from dispatcher.errors import Conflict, IdempotencyKeyReused, QueueFull, RateExceeded, TooLarge
from dispatcher.platform import settings
from dispatcher.platform.database import Connection, fetch_one
from dispatcher.platform.json_text import dumps
from dispatcher.platform.observability import logger
from dispatcher.platform.statements import statement
from dispatcher.protocol.frames import ENVELOPE_BYTES, MESSAGE_BYTES

COMMAND_BYTES = MESSAGE_BYTES - ENVELOPE_BYTES
"""The largest command that fits into a message of either protocol."""


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
    idempotency_key: str | None = None
    redrive_of: str | None = None
    redeliver_after_ack: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedEntry:
    """A committed command of a list."""

    command_id: str
    agent_id: str
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A committed command; `replayed` where an idempotency key gave back the command of an earlier request."""

    command: Command
    replayed: bool = False


_SUBMIT = statement(__package__, "submit", agent_in_scope=AGENT_IN_SCOPE, columns=COLUMNS)


def submit(conn: Connection, new: Sequence[NewCommand], by: Operator) -> list[Accepted]:
    """Accept commands, all or none; once this has returned, the caller may answer 202.

    Raises UnknownAgent, TooLarge (the command does not fit into a message), QueueFull, RateExceeded, and
    IdempotencyKeyReused (the key was used with a different request).
    """
    # One hash for the whole list: the idempotency key of a list must not be valid for another list.
    request_hash = _request_hash(new) if any(each.idempotency_key for each in new) else None
    if len(new) == 1:
        accepted = [_submit(conn, new[0], request_hash, by)]  # a single statement is a transaction
    else:
        with conn.transaction():
            accepted = [_submit(conn, each, request_hash, by) for each in new]
    for command in (each.command for each in accepted if not each.replayed):
        fields = {"command_id": command.command_id, "agent_id": command.agent_id, "operator": command.submitted_by}
        logger.info("Accepted command", extra=fields)
    return accepted


def submit_list(
    conn: Connection, new: Sequence[NewCommand], idempotency_key: str | None, by: Operator
) -> list[AcceptedEntry]:
    """Accept a list of commands, all or none, under one idempotency key.  Raises what `submit` raises."""
    if idempotency_key is not None:
        # The first command has the key itself, so that the key cannot be reused for a single command either.
        keys = [idempotency_key, *(f"{idempotency_key}\x1f{index}" for index in range(1, len(new)))]
        new = [replace(each, idempotency_key=key) for each, key in zip(new, keys, strict=True)]
    return [
        AcceptedEntry(command_id=each.command.command_id, agent_id=each.command.agent_id, status=each.command.status)
        for each in submit(conn, new, by)
    ]


def redrive(
    conn: Connection,
    command_id: str,
    by: Operator,
    *,
    idempotency_key: str | None = None,
    ttl_seconds: int | None = None,
) -> Accepted:
    """Submit an ended command again, as a new command that names the old one: an end is final.

    The payload is copied by the statement, unchanged; without `ttl_seconds` the same span is given again.  Raises
    UnknownCommand, Conflict for a command that is still alive or was completed, and what `submit` raises.
    """
    command = command_records.find(conn, command_id, by.scope)
    if command.status not in ENDED - {Status.COMPLETED}:
        raise Conflict(f"The command is {command.status}; only one that ended without success can be redriven.")
    if ttl_seconds is None and command.deliver_by is not None:
        span = command.deliver_by - max(command.created_at, command.not_before or command.created_at)
        ttl_seconds = max(1, round(span.total_seconds()))
    again = NewCommand(
        agent_id=command.agent_id,
        action=command.action,
        session_id=command.session_id,
        priority=command.priority,
        execution_timeout=command.execution_timeout,
        max_attempts=command.max_attempts,
        redrive_of=command.command_id,
        ttl_seconds=ttl_seconds,
        idempotency_key=idempotency_key,
    )
    (accepted,) = submit(conn, [again], by)
    return accepted


def _submit(conn: Connection, new: NewCommand, request_hash: bytes | None, by: Operator) -> Accepted:
    command = fetch_one(conn, Command.from_row, _SUBMIT, _parameters(new, request_hash, by))
    if command is None:
        return _replay(conn, new, request_hash, by) or _refuse(conn, new, by)
    return Accepted(command=command)


def _replay(conn: Connection, new: NewCommand, request_hash: bytes | None, by: Operator) -> Accepted | None:
    """Return the command of the idempotency key, if there is one; raises IdempotencyKeyReused."""
    if new.idempotency_key is None:
        return None
    found = fetch_one(
        conn,
        _with_hash,
        f"select {COLUMNS}, request_hash from agent_commands where submitted_by = %s and idempotency_key = %s",
        (by.username, new.idempotency_key),
    )
    if found is None:
        return None
    command, known_hash = found
    if known_hash != request_hash:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used with a different request.", commandId=command.command_id
        )
    return Accepted(command=command, replayed=True)


def _with_hash(*, request_hash: bytes, **columns: Any) -> tuple[Command, bytes]:
    return Command.from_row(**columns), request_hash


def _refuse(conn: Connection, new: NewCommand, by: Operator) -> NoReturn:
    """Find out why a command was not inserted, and raise it."""
    registry.find(conn, new.agent_id, by.scope)
    if (size := _size(conn, new, by)) > COMMAND_BYTES:
        raise TooLarge(
            f"The command takes {size} bytes of a message; a message has room for {COMMAND_BYTES}.",
            commandBytes=size,
            limit=COMMAND_BYTES,
        )
    rate = settings.operator_rate()
    if rate and _submitted_in_a_minute(conn, by, rate) >= rate:
        raise RateExceeded(f"You submitted {rate} commands within a minute.", limit=rate)
    queue = settings.queue_limit()
    raise QueueFull(
        f"{queue} commands are pending for agent {new.agent_id!r} already.", agentId=new.agent_id, limit=queue
    )


def _size(conn: Connection, new: NewCommand, by: Operator) -> int:
    """Return the size of a command in a message, in bytes."""
    row = conn.execute(
        """
        select command_bytes(
            %(action)s::text,
            %(session_id)s::text,
            case
                when %(redrive_of)s::text is null then %(payload)s::jsonb
                else (select o.payload from agent_commands o where o.command_id = %(redrive_of)s)
            end,
            %(execution_timeout)s::int,
            %(max_attempts)s::int)
        """,
        _parameters(new, None, by),
    ).fetchone()
    return row[0] if row else 0


def _submitted_in_a_minute(conn: Connection, by: Operator, most: int) -> int:
    """Count what an operator submitted within the last minute, up to `most`."""
    row = conn.execute(
        """
        select count(*)
        from (
            select 1
            from audit_log
            where actor = %s
              and at > now() - interval '1 minute'
              and action = 'submit command'
            limit %s) as counted
        """,
        (by.actor.name, most),
    ).fetchone()
    return row[0] if row else 0


def _parameters(new: NewCommand, request_hash: bytes | None, by: Operator) -> dict[str, Any]:
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
        "submitted_by": by.username,
        "idempotency_key": new.idempotency_key,
        "request_hash": request_hash,
        "redrive_of": new.redrive_of,
        "queue": settings.queue_limit(),
        "rate": settings.operator_rate(),
        "command_bytes": COMMAND_BYTES,
        "scope": as_parameter(by.scope),
        "actor": by.actor.name,
        "source_ip": by.actor.source_ip,
    }


def _request_hash(new: Sequence[NewCommand]) -> bytes:
    """Hash a request.  The keys of this document must never change, because stored hashes are compared with it."""
    asked = [
        {
            "agent_id": each.agent_id,
            "action": each.action,
            "payload": each.payload,
            "session_id": each.session_id,
            "priority": each.priority,
            "not_before": each.not_before.astimezone(UTC).isoformat() if each.not_before else None,
            "ttl_seconds": each.ttl_seconds,
            "execution_timeout": each.execution_timeout,
            "max_attempts": each.max_attempts,
        }
        for each in new
    ]
    return hashlib.sha256(dumps(asked).encode()).digest()
