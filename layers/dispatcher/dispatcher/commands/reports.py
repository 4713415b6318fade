"""What agents report: settle commands, note sessions and signs of life."""

from collections.abc import Sequence
from typing import Any

from dispatcher.platform.database import Connection
from dispatcher.platform.json_text import as_object, as_text
from dispatcher.platform.observability import logger
from dispatcher.protocol.decoding import (
    Ack,
    BadFrame,
    Cancelled,
    Completed,
    Failed,
    Heartbeat,
    Progress,
    Report,
    SessionAnswer,
    SessionStatus,
    decode,
)
from dispatcher.store import agents, sessions, settlement
from dispatcher.store.settlement import Origin, Settled

# A connection that is forgotten already: older than every attempt, so that its acks count for none.
FORGOTTEN = -1
# What a command's end says about its session, where the agent does not say it itself.
_STATE_AFTER = {
    "start_session": "running",
    "stop_session": "terminated",
    "hibernate_session": "hibernated",
    "wake_session": "running",
}


def receive(conn: Connection, agent_id: str, connection_id: str, text: str) -> bool:
    """Take one message of an authenticated agent; True where the agent's queue may have moved.

    What means nothing is reported in the log and changes nothing; what an agent says of another agent's commands or sessions
    touches no row, and is reported too.
    """
    try:
        said = decode(text)
    except BadFrame as reason:
        said = [reason]
    reports: list[Report] = []
    alive = False
    for each in said:
        match each:
            case BadFrame():
                logger.warning(
                    "Bad frame", extra={"agent_id": agent_id, "connection_id": connection_id, "reason": str(each)}
                )
            case Heartbeat():
                alive = agents.seen(
                    conn, agent_id, connection_id, capacity=each.capacity, active_sessions=each.active_sessions
                )
            case SessionStatus():
                _note_session(conn, agent_id, each)
            case _:
                reports.append(each)
    # After a heartbeat the queue has most likely not moved, but a look costs one statement, and mends what was missed.
    return _settle(conn, agent_id, connection_id, reports) > 0 or alive


def _settle(conn: Connection, agent_id: str, connection_id: str, reports: Sequence[Report]) -> int:
    """Settle what is reported, in one transaction; return how many commands moved."""
    if not reports:
        return 0
    epoch = agents.epoch_of(conn, connection_id, agent_id)
    origin = Origin(agent_id=agent_id, epoch=FORGOTTEN if epoch is None else epoch)
    with conn.transaction():
        # Acks before ends: an agent says both of one command in this order, and together they cost two statements.
        acks = [(each.command_id, each.attempt) for each in reports if isinstance(each, Ack)]
        moved = settlement.acknowledge(conn, origin, acks) if acks else []
        results = {each.command_id: each.result for each in reports if isinstance(each, Completed)}
        for each in reports:
            moved += _settle_one(conn, origin, each, results)
        if results:
            completed = settlement.complete(conn, origin, list(results.items()))
            for settled in completed:
                _note_end(conn, origin, settled, results[settled.command_id])
            moved += completed
    _log(conn, origin, reports, moved)
    return len(moved)


def _settle_one(conn: Connection, origin: Origin, report: Report, results: dict[str, Any]) -> list[Settled]:
    """Settle a report that is not settled in bulk; what completes a command by its session joins `results`."""
    match report:
        case Ack() | Completed():
            return []
        case Progress():
            return settlement.progress(conn, origin, report.command_id, report.progress, attempt=report.attempt)
        case Cancelled():
            return settlement.confirm_cancel(conn, origin, report.command_id, attempt=report.attempt)
        case Failed():
            again: list[Settled] = []
            if report.retryable:
                again = settlement.retry(conn, origin, report.command_id, report.error, attempt=report.attempt)
            return again or _fail(conn, origin, report.command_id, report.error, report.attempt)
        case SessionAnswer():
            return _settle_answer(conn, origin, report, results)


def _settle_answer(conn: Connection, origin: Origin, answer: SessionAnswer, results: dict[str, Any]) -> list[Settled]:
    command_id = settlement.in_flight_of_session(conn, origin, answer.session_id)
    if command_id and answer.error is not None:
        return _fail(conn, origin, command_id, answer.error, None)
    if command_id:
        results[command_id] = answer.result
    return []


def _fail(conn: Connection, origin: Origin, command_id: str, error: str, attempt: int | None) -> list[Settled]:
    failed = settlement.fail(conn, origin, command_id, error, attempt=attempt)
    for settled in failed:
        # Only a start that failed tells what became of its session.
        if settled.action == "start_session" and settled.session_id:
            sessions.note(conn, origin.agent_id, settled.session_id, "failed")
    return failed


def _note_end(conn: Connection, origin: Origin, settled: Settled, result: Any) -> None:
    reported = as_text((as_object(result) or {}).get("state"))
    state = reported if reported in sessions.REPORTED_STATES else _STATE_AFTER.get(settled.action)
    if settled.session_id and state:
        sessions.note(conn, origin.agent_id, settled.session_id, state, result)


def _note_session(conn: Connection, agent_id: str, status: SessionStatus) -> None:
    state = status.state if status.state in sessions.REPORTED_STATES else None
    if not sessions.note(conn, agent_id, status.session_id, state, status.details):
        logger.warning(
            "Status of no session of this agent", extra={"agent_id": agent_id, "session_id": status.session_id}
        )


def _log(conn: Connection, origin: Origin, reports: Sequence[Report], moved: Sequence[Settled]) -> None:
    if moved:
        logger.info(
            "Commands reported",
            extra={
                "agent_id": origin.agent_id,
                "command_ids": sorted({each.command_id for each in moved}),
                "reports": sorted({type(each).__name__ for each in reports}),
            },
        )
    unmoved = {command_id for each in reports if (command_id := getattr(each, "command_id", None))}
    for command_id in sorted(unmoved - {each.command_id for each in moved}):
        # Never logged as a success: the command ended before, is another agent's, or does not exist.
        status = settlement.status_of(conn, origin.agent_id, command_id)
        fields = {"agent_id": origin.agent_id, "command_id": command_id, "status": status or "not of this agent"}
        logger.warning("Report moved nothing", extra=fields)
    sessions_named = len([each for each in reports if isinstance(each, SessionAnswer)])
    if sessions_named and not moved:
        logger.warning("Answer matches no command", extra={"agent_id": origin.agent_id, "answers": sessions_named})
