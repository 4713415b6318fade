"""Intake: a command is accepted when it is committed, and only then."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any, NoReturn

from dispatcher.access.identity import Operator
from dispatcher.commands.model import ENDED, Command, Status
from dispatcher.errors import (
    Conflict,
    IdempotencyKeyReused,
    QueueFull,
    RateExceeded,
    TooLarge,
    UnknownAgent,
    UnknownCommand,
)
from dispatcher.platform import settings
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Gateway
from dispatcher.platform.json_text import dumps
from dispatcher.platform.observability import logger
from dispatcher.protocol import frames
from dispatcher.protocol.frames import ENVELOPE_BYTES, FRAME_BYTES
from dispatcher.store import agents, commands, journal
from dispatcher.store.commands import Limits, NewCommand
from dispatcher.store.scopes import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A committed command; `replayed` where an idempotency key gave back the one of an earlier request."""

    command: Command
    replayed: bool = False


def submit(conn: Connection, new: Sequence[NewCommand], by: Operator) -> list[Accepted]:
    """Accept commands, all or none; whoever gets them back may answer 202.

    Raises UnknownAgent, TooLarge (it would not fit a message), QueueFull, and IdempotencyKeyReused (the same key with
    another request).
    """
    limits = Limits(
        queue=settings.queue_limit(), command_bytes=FRAME_BYTES - ENVELOPE_BYTES, rate=settings.operator_rate()
    )
    # One for all: an idempotency key that covers a list covers no other list.
    request_hash = _request_hash(new) if any(each.idempotency_key for each in new) else None
    asked = [replace(each, submitted_by=by.username, request_hash=request_hash) for each in new]
    if len(asked) == 1:
        return [_submit(conn, asked[0], limits, by)]  # one statement is a transaction of its own
    with conn.transaction():
        return [_submit(conn, each, limits, by) for each in asked]


def _submit(conn: Connection, new: NewCommand, limits: Limits, by: Operator) -> Accepted:
    command = commands.insert(conn, new, limits, by.scope, by.actor)
    if command is None:
        return _replay(conn, new) or _refuse(conn, new, limits, by)
    logger.info(
        "Accepted command",
        extra={"command_id": command.command_id, "agent_id": command.agent_id, "operator": command.submitted_by},
    )
    return Accepted(command=command)


def _refuse(conn: Connection, new: NewCommand, limits: Limits, by: Operator) -> NoReturn:
    """Find out why a command was not inserted, and raise it."""
    if agents.get(conn, new.agent_id, by.scope) is None:
        raise UnknownAgent(f"There is no agent {new.agent_id!r}.", agentId=new.agent_id)
    if (size := commands.size(conn, new)) > limits.command_bytes:
        raise TooLarge(
            f"The command takes {size} bytes of a message; an agent's message has room for {limits.command_bytes}.",
            commandBytes=size,
            limit=limits.command_bytes,
        )
    if limits.rate and commands.submitted_in_a_minute(conn, by.actor, limits.rate) >= limits.rate:
        raise RateExceeded(f"You submitted {limits.rate} commands within a minute.", limit=limits.rate)
    raise QueueFull(
        f"{limits.queue} commands wait for agent {new.agent_id!r} already.", agentId=new.agent_id, limit=limits.queue
    )


def _replay(conn: Connection, new: NewCommand) -> Accepted | None:
    """Return the command that the idempotency key stands for already, if there is one."""
    if new.idempotency_key is None:
        return None
    found = commands.by_idempotency_key(conn, new.submitted_by or "", new.idempotency_key)
    if found is None:
        return None
    command, request_hash = found
    if request_hash != new.request_hash:
        raise IdempotencyKeyReused(
            "This Idempotency-Key came with another request before.", commandId=command.command_id
        )
    return Accepted(command=command, replayed=True)


def _request_hash(new: Sequence[NewCommand]) -> bytes:
    return hashlib.sha256(dumps([_asked(each) for each in new]).encode()).digest()


def _asked(new: NewCommand) -> dict[str, Any]:
    return {
        "agent_id": new.agent_id,
        "action": new.action,
        "payload": new.payload,
        "session_id": new.session_id,
        "priority": new.priority,
        "not_before": new.not_before.astimezone(UTC).isoformat() if new.not_before else None,
        "ttl_seconds": new.ttl_seconds,
        "execution_timeout": new.execution_timeout,
        "max_attempts": new.max_attempts,
    }


def cancel(conn: Connection, gateway: Gateway, command_id: str, by: Operator) -> Command:
    """Cancel a pending command at once; ask the agent to stop one that is under way, if it understands that.

    Raises UnknownCommand, and Conflict for a command that has ended otherwise.
    """
    with conn.transaction():
        agent_id = find(conn, command_id, by.scope).agent_id
        status = commands.cancel(conn, command_id, by.username)
        journal.record(conn, by.actor, "cancel command", agent_id=agent_id, command_id=command_id)
    if status and status is not Status.CANCELLED and (asked := commands.cancellation_of(conn, command_id)):
        # Best effort: what becomes of the command is what its agent says.
        gateway.post(asked.connection_id, frames.cancel(command_id, asked.attempt))
    command = find(conn, command_id, by.scope)
    if command.status in ENDED - {Status.CANCELLED}:
        raise Conflict(f"The command is {command.status} and cannot be cancelled.")
    return command


def redrive(conn: Connection, command_id: str, by: Operator) -> Accepted:
    """Submit an ended command once more, as a new command that names the old one: an end is final.

    Raises UnknownCommand, and Conflict for a command that is still alive or was completed.
    """
    command = find(conn, command_id, by.scope)
    if command.status not in ENDED - {Status.COMPLETED}:
        raise Conflict(f"The command is {command.status}; only one that ended without success can be redriven.")
    (accepted,) = submit(
        conn,
        [
            NewCommand(
                agent_id=command.agent_id,
                action=command.action,
                payload=command.payload,
                session_id=command.session_id,
                priority=command.priority,
                execution_timeout=command.execution_timeout,
                max_attempts=command.max_attempts,
                redrive_of=command.command_id,
            )
        ],
        by,
    )
    return accepted


def find(conn: Connection, command_id: str, scope: Scope) -> Command:
    """Read a command; raises UnknownCommand."""
    command = commands.get(conn, command_id, scope)
    if command is None:
        raise UnknownCommand(f"There is no command {command_id!r}.", commandId=command_id)
    return command
