"""Submission: a command is accepted when it is committed, and only then."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple, NoReturn

import psycopg
from psycopg.types.json import Jsonb

from dispatcher.access.callers import Caller
from dispatcher.access.roles import Operator, Role
from dispatcher.access.scopes import as_parameter
from dispatcher.commands import claims, command_records
from dispatcher.commands.claims import Claim
from dispatcher.commands.command_records import COLUMNS, Command
from dispatcher.commands.lifecycle import ENDED, Status
from dispatcher.errors import (
    Conflict,
    IdempotencyKeyReused,
    QueueFull,
    RateExceeded,
    TooLarge,
    UnknownAgent,
    Unprocessable,
)
from dispatcher.platform import correlation, settings
from dispatcher.platform.database import Connection, fetch_one
from dispatcher.platform.functions import call
from dispatcher.platform.hot_statements import HotStatement
from dispatcher.platform.json_text import dumps
from dispatcher.protocol import platform_rules
from dispatcher.protocol.frames import ENVELOPE_BYTES, MESSAGE_BYTES

COMMAND_BYTES = MESSAGE_BYTES - ENVELOPE_BYTES
"""The largest command that fits into a message of either protocol."""

TTL_MOST = 31_536_000
"""The longest time that a command may wait, in seconds: a year."""


@dataclass(slots=True)
class NewCommand:
    """What an operator submits; None means the table's default.

    A list has a thousand of them: a frozen object takes three times as long to make, and keyword arguments double the time.
    """

    agent_id: str
    action: str
    payload: Any = None
    session_id: str | None = None
    priority: int | None = None
    not_before: datetime | None = None
    ttl_seconds: int | None = None
    execution_timeout: int | None = None
    max_attempts: int | None = None
    redeliver_after_ack: bool = False
    idempotency_key: str | None = None
    redrive_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A committed command; `replayed` where an idempotency key gave back the command of an earlier request."""

    command: Command
    replayed: bool = False
    claim: Claim | None = None
    """What was claimed for the agent in the same transaction."""


_TAKEN = {"accepted", "replayed"}


class AcceptedEntry(NamedTuple):
    """A committed command of a list."""

    command_id: str
    agent_id: str
    status: str


_MEMBERS = (
    "agent_id",
    "action",
    "session_id",
    "priority",
    "not_before",
    "ttl_seconds",
    "execution_timeout",
    "max_attempts",
    "redeliver_after_ack",
    "redrive_of",
)
"""What the functions of the database read of a command, beside its payload."""
_NAMES = tuple(column.strip() for column in COLUMNS.split(","))
_CLAIMED = ", ".join(claims.Row._fields)


def _submit_statement(username: str, scope: str, source: str = "") -> HotStatement:
    return HotStatement(
        call(
            f"select outcome, number, {', '.join(f'(command).{name}' for name in _NAMES)}, {_CLAIMED} from {source}"
            "{f}.submit(%(agent_id)s, %(action)s, %(payload)s, %(session_id)s, %(priority)s, %(not_before)s,"
            " %(ttl_seconds)s, %(execution_timeout)s, %(max_attempts)s, %(redeliver_after_ack)s, %(redrive_of)s,"
            f" %(correlation_id)s, %(reason)s, {username}, {username}, %(source_ip)s, {scope}, %(key)s, %(hash)s, %(queue)s,"
            " %(rate)s, %(most_bytes)s, %(token)s)"
        )
    )


_SUBMIT = _submit_statement("%(username)s", "%(scope)s")
_SUBMIT_FOR_CALLER = _submit_statement(
    "sender.username", "sender.labels", "{f}.sender(%(username)s, %(issued_at)s, %(api_token_hash)s) as sender, "
)
_SUBMIT_LIST = HotStatement(
    call(
        "select outcome, number, agent_id, command_ids, statuses from {f}.submit_list(%(common)s, %(payloads)s, %(others)s,"
        " %(correlation_id)s, %(reason)s, %(username)s, %(username)s, %(source_ip)s, %(scope)s, %(key)s, %(hash)s,"
        " %(queue)s, %(rate)s, %(most_bytes)s)"
    )
)


def submit(conn: Connection, new: NewCommand, by: Operator | Caller, *, claim: bool = False) -> Accepted:
    """Accept a command; once this has returned, the caller may answer 202.

    `claim` also claims what is due for its agent, in the same statement: then the caller delivers it.  Raises UnknownAgent,
    TooLarge (the command does not fit into a message), QueueFull, RateExceeded, Unprocessable (the agent cannot read the
    command) and IdempotencyKeyReused (the key was used with a different request).

    The same statement reads the rights of a Caller; raises NotAuthenticated, and NotAllowed unless it is a sender.
    """
    if isinstance(by, Caller):
        return _submit_for_caller(conn, new, by, claim=claim)
    return _submit(conn, _SUBMIT, new, _parameters([new], new.idempotency_key, by), claim=claim)


def _submit_for_caller(conn: Connection, new: NewCommand, by: Caller, *, claim: bool) -> Accepted:
    parameters = {
        **_request_parameters([new], new.idempotency_key),
        "reason": by.reason,
        "source_ip": by.source_ip,
        "username": by.username,
        "issued_at": by.issued_at,
        "api_token_hash": by.api_token_hash,
    }
    try:
        return _submit(conn, _SUBMIT_FOR_CALLER, new, parameters, claim=claim)
    except psycopg.errors.InsufficientPrivilege:
        operator = by.operator(conn)  # raises what is wrong with the token
        operator.require(Role.SENDER)
        return submit(conn, new, operator, claim=claim)  # the rights were restored meanwhile


def _submit(
    conn: Connection, statement: HotStatement, new: NewCommand, parameters: dict[str, Any], *, claim: bool
) -> Accepted:
    token, begun = claims.new_token(), time.monotonic()
    parameters = {
        **{name: getattr(new, name) for name in _MEMBERS},
        "payload": None if new.payload is None else Jsonb(new.payload, dumps=dumps),
        "token": token if claim else None,
        **parameters,
    }
    (outcome, number, *row), *claimed = statement.fetch(conn, parameters)
    columns = dict(zip(_NAMES, row, strict=False))
    if outcome not in _TAKEN:
        _raise(outcome, number, new, columns["command_id"], parameters)
    return Accepted(
        command=Command.from_row(**columns),
        replayed=outcome == "replayed",
        claim=claims.claim_of(new.agent_id, token, begun, [each[2 + len(_NAMES) :] for each in claimed]),
    )


def submit_list(
    conn: Connection, new: Sequence[NewCommand], idempotency_key: str | None, by: Operator
) -> list[AcceptedEntry]:
    """Accept a list of commands, all or none, under one idempotency key.  Raises what `submit` raises."""
    parameters = {**_list_members(new), **_parameters(new, idempotency_key, by)}
    try:
        (answer,) = _SUBMIT_LIST.fetch(conn, parameters)
    except psycopg.errors.UniqueViolation:
        answer = None
    if answer is None or (answer[0] not in _TAKEN and idempotency_key and find_by_key(conn, idempotency_key, by)):
        # The same key was used at the same moment: now it tells what became of it.
        (answer,) = _SUBMIT_LIST.fetch(conn, parameters)
    outcome, number, agent_id, command_ids, statuses = answer
    if outcome not in _TAKEN or len(command_ids) != len(new):
        place = int(number) - 1 if outcome == "unreadable" else 0
        wrong = replace(new[place], agent_id=agent_id or new[0].agent_id)
        _raise(outcome, number, wrong, command_ids[0] if command_ids else None, parameters)
    agent_ids = [each.agent_id for each in new]
    return list(map(AcceptedEntry, command_ids, agent_ids, statuses or [str(Status.PENDING)] * len(new)))


def find_by_key(conn: Connection, idempotency_key: str, by: Operator) -> Command | None:
    """Return the command of an earlier request with this idempotency key."""
    return fetch_one(
        conn,
        Command.from_row,
        f"select {COLUMNS} from agent_commands where submitted_by = %s and idempotency_key = %s",
        (by.username, idempotency_key),
    )


def redrive(
    conn: Connection,
    command_id: str,
    by: Operator,
    *,
    idempotency_key: str | None = None,
    ttl_seconds: int | None = None,
    claim: bool = False,
) -> Accepted:
    """Submit an ended command again, as a new command that names the old one: an end is final.

    The payload is copied by the statement, unchanged.  Without `ttl_seconds` the new command may wait for delivery as long as
    the old one might.  `claim` is as for `submit`.  Raises UnknownCommand, Conflict for a command that is still alive or was
    completed, and what `submit` raises.
    """
    command = command_records.find(conn, command_id, by.scope)
    if command.status not in ENDED - {Status.COMPLETED}:
        raise Conflict(f"The command is {command.status}; only one that ended without success can be redriven.")
    new = again(command, idempotency_key=idempotency_key, ttl_seconds=ttl_seconds)
    return submit(conn, new, by, claim=claim)


def again(command: Command, *, idempotency_key: str | None = None, ttl_seconds: int | None = None) -> NewCommand:
    """Return what is submitted when a command is redriven."""
    return NewCommand(
        agent_id=command.agent_id,
        action=command.action,
        session_id=command.session_id,
        priority=command.priority,
        ttl_seconds=ttl_seconds or _span(command),
        execution_timeout=command.execution_timeout,
        max_attempts=command.max_attempts,
        idempotency_key=idempotency_key,
        redrive_of=command.command_id,
    )


def _span(command: Command) -> int | None:
    """Return for how many seconds a command was allowed to wait; None: without limit."""
    if command.deliver_by is None:
        return None
    since = max(command.created_at, command.not_before or command.created_at)
    return min(max(1, round((command.deliver_by - since) / timedelta(seconds=1))), TTL_MOST)


def _raise(outcome: str, number: Any, new: NewCommand, command_id: str | None, parameters: dict[str, Any]) -> NoReturn:
    agent_id = new.agent_id
    match outcome:
        case "unknown_agent":
            raise UnknownAgent(f"There is no agent {agent_id!r}.", agentId=agent_id)
        case "unreadable":
            # Without a reason: a `sessionId` that is no text, or a redrive, whose payload only the database has read.
            why = platform_rules.refusal(new.action, new.payload)
            raise Unprocessable(
                f"Agent {agent_id!r} cannot read the command. "
                f"{why or 'It needs a JSON object as payload, with a DNS label as sessionId.'}"
            )
        case "too_large":
            raise TooLarge(
                f"The command takes {number} bytes of a message; a message has room for {COMMAND_BYTES}.",
                commandBytes=number,
                limit=COMMAND_BYTES,
            )
        case "queue_full":
            limit = parameters["queue"]
            raise QueueFull(
                f"{limit} commands are pending for agent {agent_id!r} already.", agentId=agent_id, limit=limit
            )
        case "rate_exceeded":
            limit = parameters["rate"]
            raise RateExceeded(f"You submitted {limit} commands within a minute.", limit=limit)
        case _:
            raise IdempotencyKeyReused("This Idempotency-Key was used with a different request.", commandId=command_id)


def _list_members(new: Sequence[NewCommand]) -> dict[str, Jsonb]:
    """Return commands as `submit_list` reads them: what they share is said once.  What is not named is NULL."""
    common: dict[str, Any] = {}
    others: list[dict[str, Any]] = []
    for name in _MEMBERS:
        values = list(map(attrgetter(name), new))
        if len(set(values)) == 1 and (name != "redrive_of" or values[0] is None):
            common[name] = values[0]
        else:
            others = others or [{} for _ in new]
            for other, value in zip(others, values, strict=True):
                other[name] = value
    return {
        "common": Jsonb(common, dumps=dumps),
        "payloads": Jsonb([each.payload for each in new], dumps=dumps),
        "others": Jsonb(others, dumps=dumps),
    }


def _parameters(new: Sequence[NewCommand], key: str | None, by: Operator) -> dict[str, Any]:
    return {
        **_request_parameters(new, key),
        "reason": by.reason,
        "source_ip": by.source_ip,
        "username": by.username,
        "scope": as_parameter(by.scope),
    }


def _request_parameters(new: Sequence[NewCommand], key: str | None) -> dict[str, Any]:
    return {
        "correlation_id": correlation.current(),
        "key": key,
        # One hash for the whole list: the idempotency key of a list must not be valid for another list.
        "hash": _request_hash(new) if key else None,
        "queue": settings.queue_limit(),
        "rate": settings.operator_rate(),
        "most_bytes": COMMAND_BYTES,
    }


def _request_hash(new: Sequence[NewCommand]) -> bytes:
    """Hash a request, whatever the order of its members.

    The keys of this document must never change, because stored hashes are compared with it.
    """
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
            **({"redeliver_after_ack": True} if each.redeliver_after_ack else {}),
            **({"redrive_of": each.redrive_of} if each.redrive_of else {}),
        }
        for each in new
    ]
    return hashlib.sha256(dumps(asked, sort_keys=True).encode()).digest()
