"""What agents report: a message is decoded, settled in one statement, and answered with what the agent's window now admits."""

import contextlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import psycopg

from dispatcher.agents import facts
from dispatcher.commands import claims
from dispatcher.commands.claims import Claim, Row, claim_of, new_token
from dispatcher.platform import correlation, settings
from dispatcher.platform.database import Connection
from dispatcher.platform.functions import call
from dispatcher.platform.hot_statements import HotStatement
from dispatcher.platform.json_text import dumps
from dispatcher.platform.observability import is_debugging, logger
from dispatcher.protocol.decoding import (
    AgentMessage,
    BadFrame,
    Confirm,
    Facts,
    Heartbeat,
    Report,
    Resume,
    SessionStatus,
    decode,
)
from dispatcher.protocol.said import Said


class SessionObserver(Protocol):
    """Gets what agents say about sessions (see `sessions`)."""

    def reported(self, conn: Connection, agent_id: str, status: SessionStatus, said_at: int | None) -> None:
        """Take note: the agent reported a session's state at this time (see `Said`)."""
        ...


class Received(NamedTuple):
    """The outcome of a message."""

    refused: bool = False
    """The message does not count: the agent was rejected or deleted, or its key revoked."""
    too_many: bool = False
    """The agent exceeds its rate."""
    moved: int = 0
    """How many commands moved."""
    alive: bool = False
    """Whether the message was a heartbeat."""
    claim: Claim | None = None
    """What was claimed for the agent."""
    unwelcomed: int | None = None
    """The epoch of the agent's connection, if its welcome has not been posted yet."""
    confirm: Sequence[str] = ()
    """The ids of messages that the agent wants to have confirmed."""
    confirm_in_commands: bool = False
    """Whether the message of commands that is claimed may confirm them."""


class _Parts(NamedTuple):
    """What a message holds."""

    reports: list[Report]
    others: list[AgentMessage]


LOGGED = 5
"""The most lines that one message of an agent adds to the log for one kind of trouble."""

_RECEIVE = HotStatement(
    call(
        "select * from {f}.receive(%(agent_id)s, %(connection_id)s, %(key_id)s, %(event_id)s, %(said_at)s, %(rate)s,"
        " %(heartbeat)s, %(capacity)s, %(sessions)s, %(reports)s, %(token)s, %(traced)s)"
    )
)
_RESUME = call("select {f}.resume(%s, %s, %s::text[], %s::int[])")


def receive(conn: Connection, said: Said, observer: SessionObserver, *, claim: bool = True) -> Received:
    """Settle one message of an authenticated agent, and claim what its window now admits.

    The reports of a message are settled in the order in which they were written, all or none.  What cannot be understood is
    logged and changes nothing.  So is a report about a command of another agent.
    """
    parts = _decoded(said)
    if any(isinstance(each, Resume) for each in parts.others):
        with conn.transaction():  # whoever sees that the agent has spoken sees what it named, too (see `flush`)
            return _receive(conn, said, parts, observer, claim=claim)
    return _receive(conn, said, parts, observer, claim=claim)


def _receive(conn: Connection, said: Said, parts: _Parts, observer: SessionObserver, *, claim: bool) -> Received:
    heartbeat = next((each for each in parts.others if isinstance(each, Heartbeat)), None)
    reports = _columns(parts.reports)
    token, begun = new_token(), time.monotonic()
    rows = _RECEIVE.fetch(
        conn,
        {
            "agent_id": said.agent_id,
            "connection_id": said.connection_id,
            "key_id": said.key_id,
            "event_id": said.event_id,
            "said_at": said.said_at,
            "rate": settings.agent_rate(),
            "heartbeat": heartbeat is not None,
            "capacity": heartbeat and (None if heartbeat.capacity is None else dumps(heartbeat.capacity)),
            "sessions": heartbeat and heartbeat.active_sessions,
            "reports": dumps(reports) if reports else None,
            "token": token if claim else None,
            "traced": is_debugging(),
        },
    )
    answers = [Row._make(row) for row in rows if row[0] != "command"]
    found = {row.kind: row for row in answers}
    if "refused" in found:
        return Received(refused=True)
    admitted, unwelcomed = found["admitted"], found.get("unwelcomed")
    moved, traces = admitted.attempt, (admitted.correlation_id or "").split()
    _log(said, reports, traces, [row for row in answers if row.kind == "unmoved"], moved=moved)
    claimed = claim_of(said.agent_id, token, begun, rows)
    for message in parts.others:
        if isinstance(message, SessionStatus):
            observer.reported(conn, said.agent_id, message, said.said_at)
        elif isinstance(message, Resume):
            resumed = _resume(conn, said, message)
            moved += resumed
            if resumed and claim and claimed is None:  # a lost command may be pending again
                with contextlib.suppress(psycopg.errors.LockNotAvailable), conn.transaction():
                    claimed = claims.claim(conn, said.agent_id)  # else the sweep delivers
        elif isinstance(message, Facts):
            facts.take(conn, said.agent_id, said.connection_id, message.facts)
    confirms = [each for each in parts.others if isinstance(each, Confirm)]
    return Received(
        too_many="too_many" in found,
        moved=moved,
        alive=heartbeat is not None,
        claim=claimed,
        unwelcomed=unwelcomed.epoch if unwelcomed else None,
        confirm=[each.message_id for each in confirms],
        confirm_in_commands=bool(confirms) and all(each.in_commands for each in confirms),
    )


def _columns(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """Return the reports of a message as rows, in the order in which they were written (see `settle.function.sql`)."""
    rows: list[dict[str, Any]] = []
    last: dict[str, dict[str, Any]] = {}  # the last report of each command
    for kind, about, attempt, value, error in reports:
        row: dict[str, Any] = {"round": 1, "kind": kind, "id": about, "attempt": attempt}
        if value is not None:
            row["value"] = value
        if error is not None:
            row["error"] = error
        before = last.get(about)
        if before is not None:
            is_its_end = kind == "complete" or (kind == "failed" and attempt == before["attempt"])
            if before["kind"] == "ack" and is_its_end:
                # An ack and the end of the same attempt are one update.
                before.update({**row, "round": before["round"]}, acked=True)
                continue
            row["round"] = before["round"] + 1
        last[about] = row
        rows.append(row)
    return rows


def _decoded(said: Said) -> _Parts:
    messages: Sequence[AgentMessage | BadFrame]
    try:
        messages = decode(said.text)
    except BadFrame as reason:
        messages = [reason]
    reports = [each for each in messages if isinstance(each, Report)]
    rest = [each for each in messages if not isinstance(each, Report)] if len(reports) < len(messages) else []
    bad = [each for each in rest if isinstance(each, BadFrame)]
    for frame in bad[:LOGGED]:
        fields = {"agent_id": said.agent_id, "connection_id": said.connection_id, "reason": str(frame)}
        logger.warning("Bad frame", extra=fields | ({"of": len(bad)} if len(bad) > 1 else {}))
    return _Parts(reports, [each for each in rest if not isinstance(each, BadFrame)])


def _resume(conn: Connection, said: Said, resume: Resume) -> int:
    ids, attempts = [each for each, _ in resume.running], [attempt for _, attempt in resume.running]
    row = conn.execute(_RESUME, (said.agent_id, said.connection_id, ids, attempts)).fetchone()
    return row[0] if row else 0


def _log(
    said: Said,
    reports: Sequence[dict[str, Any]],
    traces: Sequence[str],
    unmoved: Sequence[Row],
    *,
    moved: int,
) -> None:
    if moved:
        fields: dict[str, Any] = {"agent_id": said.agent_id, "command_ids": [report["id"] for report in reports]}
        logger.debug("Commands reported", extra=fields | correlation.of_commands(traces))
    for row in unmoved[:LOGGED]:
        # Never logged as a success: the command has ended, belongs to another agent, or does not exist.
        status = row.frame or "not of this agent"
        fields = {"agent_id": said.agent_id, "command_id": row.command_id[:128], "status": status}
        logger.warning("Report moved nothing", extra=fields | correlation.of_commands([row.correlation_id]))
    if len(unmoved) > LOGGED:
        logger.warning("Reports moved nothing", extra={"agent_id": said.agent_id, "more": len(unmoved) - LOGGED})
    answers = 0 if moved else sum(report["kind"] in {"answer", "answer_failed"} for report in reports)
    if answers:
        logger.warning("Answer matches no command", extra={"agent_id": said.agent_id, "answers": answers})
