"""What agents report: a message is decoded, settled in one statement, and answered with what the agent's window now admits."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from psycopg.types.json import Jsonb

from dispatcher.commands.claims import Claim, claim_of
from dispatcher.platform import settings
from dispatcher.platform.database import Connection
from dispatcher.platform.functions import call
from dispatcher.platform.json_text import dumps
from dispatcher.platform.observability import logger
from dispatcher.protocol.decoding import (
    Ack,
    BadFrame,
    Cancelled,
    Completed,
    Confirm,
    Failed,
    Heartbeat,
    Progress,
    Report,
    Resume,
    SessionAnswer,
    SessionStatus,
    decode,
)
from dispatcher.protocol.said import Said


class SessionObserver(Protocol):
    """Gets what agents say about sessions (see `sessions`)."""

    def reported(self, conn: Connection, agent_id: str, status: SessionStatus) -> None:
        """Take note: the agent reported a session's state."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """The outcome of a message."""

    counts: bool
    """False: the agent was rejected or deleted, or its key revoked."""
    too_many: bool = False
    """The agent exceeds its rate."""
    moved: int = 0
    """How many commands moved."""
    alive: bool = False
    """It was a heartbeat.  The queue has seldom moved then, but one more look finds what was missed."""
    claim: Claim | None = None
    """What was claimed for the agent."""
    confirm: Sequence[str] = ()
    """The ids of messages that the agent wants to have confirmed."""


_RECEIVE = call(
    "select * from {f}.receive(%(agent_id)s, %(connection_id)s, %(key_id)s, %(event_id)s, %(rate)s, %(heartbeat)s, %(capacity)s,"
    " %(sessions)s, %(rounds)s::int[], %(kinds)s::text[], %(ids)s::text[], %(attempts)s::int[], %(vals)s::jsonb[],"
    " %(errors)s::text[], %(acked)s::boolean[], %(token)s)"
)
_RESUME = call("select {f}.resume(%s, %s, %s::text[], %s::int[])")


def receive(conn: Connection, said: Said, observer: SessionObserver, *, claim: bool = True) -> Received:
    """Settle one message of an authenticated agent, and claim what its window now admits.

    The reports of a message are settled in the order in which they were written, all or none.  What cannot be understood is
    logged and changes nothing.  So is a report about a command of another agent.
    """
    messages = _decoded(said)
    heartbeat = next((each for each in messages if isinstance(each, Heartbeat)), None)
    reports = _Reports.of(each for each in messages if isinstance(each, Report))
    token, begun = uuid4(), time.monotonic()
    rows = conn.execute(
        _RECEIVE,
        {
            "agent_id": said.agent_id,
            "connection_id": said.connection_id,
            "key_id": said.key_id,
            "event_id": said.event_id,
            "rate": settings.agent_rate(),
            "heartbeat": heartbeat is not None,
            "capacity": None if heartbeat is None else _jsonb(heartbeat.capacity),
            "sessions": heartbeat and heartbeat.active_sessions,
            **reports.parameters(),
            "token": token if claim else None,
        },
    ).fetchall()
    kinds = {row[0] for row in rows}
    if "refused" in kinds:
        return Received(counts=False)
    moved = sum(row[6] for row in rows if row[0] == "admitted")
    _log(said, reports, moved, [(row[5], row[7]) for row in rows if row[0] == "unmoved"])
    for message in messages:
        if isinstance(message, SessionStatus):
            observer.reported(conn, said.agent_id, message)
        elif isinstance(message, Resume):
            moved += _resume(conn, said, message)
    return Received(
        counts=True,
        too_many="too_many" in kinds,
        moved=moved,
        alive=heartbeat is not None,
        claim=claim_of(said.agent_id, token, begun, rows),
        confirm=[each.message_id for each in messages if isinstance(each, Confirm)],
    )


@dataclass(slots=True)
class _Reports:
    """The reports of a message as columns, in the order in which they were written (see `settle.function.sql`)."""

    rounds: list[int]
    kinds: list[str]
    ids: list[str]
    attempts: list[int | None]
    values: list[Jsonb | None]
    errors: list[str | None]
    acked: list[bool]

    @classmethod
    def of(cls, reports: Iterable[Report]) -> "_Reports":
        made = cls([], [], [], [], [], [], [])
        last: dict[str, int] = {}  # where the last report of each command stands
        for report in reports:
            kind, command_id, attempt, value, error = _columns(report)
            before = last.get(command_id)
            if before is not None and made.kinds[before] == "ack" and kind in {"complete", "failed"}:
                # An ack and the end of the same attempt: one update.
                if made.attempts[before] == attempt or kind == "complete":
                    made.kinds[before], made.values[before], made.errors[before] = kind, value, error
                    made.acked[before] = True
                    continue
            last[command_id] = len(made.ids)
            made.rounds.append(1 if before is None else made.rounds[before] + 1)
            made.kinds.append(kind)
            made.ids.append(command_id)
            made.attempts.append(attempt)
            made.values.append(value)
            made.errors.append(error)
            made.acked.append(False)
        return made

    def parameters(self) -> dict[str, Any]:
        return {
            "rounds": self.rounds,
            "kinds": self.kinds,
            "ids": self.ids,
            "attempts": self.attempts,
            "vals": self.values,
            "errors": self.errors,
            "acked": self.acked,
        }


def _columns(report: Report) -> tuple[str, str, int | None, Jsonb | None, str | None]:
    """Return a report's kind, the id of its command (or session), its attempt, its value and its error."""
    match report:
        case Ack():
            return "ack", report.command_id, report.attempt, None, None
        case Completed():
            return "complete", report.command_id, report.attempt, _jsonb(report.result), None
        case Failed():
            return "retry" if report.retryable else "failed", report.command_id, report.attempt, None, report.error
        case Progress():
            return "progress", report.command_id, report.attempt, _jsonb(report.progress), None
        case Cancelled():
            return "cancelled", report.command_id, report.attempt, None, None
        case SessionAnswer(error=None):
            return "answer", report.session_id, None, _jsonb(report.result), None
        case SessionAnswer():
            return "answer_failed", report.session_id, None, None, report.error


def _decoded(said: Said) -> list[Any]:
    try:
        messages = list(decode(said.text))
    except BadFrame as reason:
        messages = [reason]
    for message in messages:
        if isinstance(message, BadFrame):
            fields = {"agent_id": said.agent_id, "connection_id": said.connection_id, "reason": str(message)}
            logger.warning("Bad frame", extra=fields)
    return messages


def _resume(conn: Connection, said: Said, resume: Resume) -> int:
    ids, attempts = [each for each, _ in resume.running], [attempt for _, attempt in resume.running]
    row = conn.execute(_RESUME, (said.agent_id, said.connection_id, ids, attempts)).fetchone()
    return row[0] if row else 0


def _log(said: Said, reports: _Reports, moved: int, unmoved: Sequence[tuple[str, str | None]]) -> None:
    if moved:
        fields = {"agent_id": said.agent_id, "command_ids": reports.ids, "reports": sorted(set(reports.kinds))}
        logger.debug("Commands reported", extra=fields)
    for command_id, status in unmoved:
        # Never logged as a success: the command has ended, belongs to another agent, or does not exist.
        fields = {"agent_id": said.agent_id, "command_id": command_id[:128], "status": status or "not of this agent"}
        logger.warning("Report moved nothing", extra=fields)
    answers = sum(kind in {"answer", "answer_failed"} for kind in reports.kinds)
    if answers and not moved:
        logger.warning("Answer matches no command", extra={"agent_id": said.agent_id, "answers": answers})


def _jsonb(value: Any) -> Jsonb | None:
    return None if value is None else Jsonb(value, dumps=dumps)
