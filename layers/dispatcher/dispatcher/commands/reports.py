"""What agents report: messages are decoded and settled; what they say about sessions goes to an observer."""

from collections.abc import Sequence
from typing import Any, Protocol

from dispatcher.agents import connections, presence
from dispatcher.commands import settlement
from dispatcher.commands.settlement import Reporter, Settled
from dispatcher.platform.database import Connection
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


class SessionObserver(Protocol):
    """Gets what agents report about sessions; how sessions follow their commands is in schema/0006."""

    def reported(self, conn: Connection, agent_id: str, status: SessionStatus) -> None:
        """Take note: the agent reported a session's state."""
        ...


def receive(conn: Connection, agent_id: str, connection_id: str, text: str, observer: SessionObserver) -> bool:
    """Settle one message of an authenticated agent; return whether the agent's queue may have moved.

    A message that cannot be understood is logged and changes nothing.  So is a report about a command of another agent.
    """
    try:
        messages = decode(text)
    except BadFrame as reason:
        messages = [reason]
    reports: list[Report] = []
    alive = False
    for message in messages:
        match message:
            case BadFrame():
                fields = {"agent_id": agent_id, "connection_id": connection_id, "reason": str(message)}
                logger.warning("Bad frame", extra=fields)
            case Heartbeat():
                alive = presence.record_heartbeat(
                    conn, agent_id, connection_id, capacity=message.capacity, active_sessions=message.active_sessions
                )
            case SessionStatus():
                observer.reported(conn, agent_id, message)
            case _:
                reports.append(message)
    # A heartbeat seldom means that the queue has moved, but one more look costs one statement and finds missed commands.
    return _settle(conn, agent_id, connection_id, reports) > 0 or alive


def _settle(conn: Connection, agent_id: str, connection_id: str, reports: Sequence[Report]) -> int:
    """Settle reports in one transaction; return how many commands moved."""
    if not reports:
        return 0
    reporter = Reporter(agent_id=agent_id, epoch=connections.epoch_of(conn, connection_id, agent_id))
    with conn.transaction():
        # Acks before ends: agents report both of a command in this order, and so they cost two statements in all.
        acks = [(each.command_id, each.attempt) for each in reports if isinstance(each, Ack)]
        moved = settlement.acknowledge(conn, reporter, acks) if acks else []
        results = {each.command_id: each.result for each in reports if isinstance(each, Completed)}
        for report in reports:
            if isinstance(report, SessionAnswer):
                moved += _settle_answer(conn, reporter, report, results)
            else:
                moved += _settle_one(conn, reporter, report)
        if results:
            moved += settlement.complete(conn, reporter, list(results.items()))
    _log(conn, reporter, reports, moved)
    return len(moved)


def _settle_one(
    conn: Connection,
    reporter: Reporter,
    report: Ack | Progress | Completed | Failed | Cancelled,
) -> list[Settled]:
    """Settle one report."""
    match report:
        case Progress():
            return settlement.record_progress(
                conn, reporter, report.command_id, report.progress, attempt=report.attempt
            )
        case Cancelled():
            return settlement.confirm_cancel(conn, reporter, report.command_id, attempt=report.attempt)
        case Failed():
            again: list[Settled] = []
            if report.retryable:
                again = settlement.retry(conn, reporter, report.command_id, report.error, attempt=report.attempt)
            return again or _fail(conn, reporter, report)
        case Ack() | Completed():
            return []  # settled together with others


def _settle_answer(
    conn: Connection, reporter: Reporter, answer: SessionAnswer, results: dict[str, Any]
) -> list[Settled]:
    """Settle an answer that names only its session: a failure at once, a success by adding it to `results`."""
    command_id = settlement.command_of_session(conn, reporter, answer.session_id)
    if command_id is None:
        return []
    if answer.error is not None:
        return _fail(conn, reporter, Failed(command_id=command_id, error=answer.error))
    results[command_id] = answer.result
    return []


def _fail(conn: Connection, reporter: Reporter, failure: Failed) -> list[Settled]:
    return settlement.fail(
        conn,
        reporter,
        failure.command_id,
        failure.error,
        attempt=failure.attempt,
        retryable=failure.retryable,
    )


def _log(conn: Connection, reporter: Reporter, reports: Sequence[Report], moved: Sequence[Settled]) -> None:
    if moved:
        logger.info(
            "Commands reported",
            extra={
                "agent_id": reporter.agent_id,
                "command_ids": sorted({each.command_id for each in moved}),
                "reports": sorted({type(each).__name__ for each in reports}),
            },
        )
    named = {report.command_id for report in reports if not isinstance(report, SessionAnswer)}
    unmoved = sorted(named - {each.command_id for each in moved})
    statuses = settlement.statuses_of(conn, reporter.agent_id, unmoved) if unmoved else {}
    for command_id in unmoved:
        # Never logged as a success: the command has ended, belongs to another agent, or does not exist.
        status = statuses.get(command_id, "not of this agent")
        fields = {"agent_id": reporter.agent_id, "command_id": command_id, "status": status}
        logger.warning("Report moved nothing", extra=fields)
    answers = sum(isinstance(report, SessionAnswer) for report in reports)
    if answers and not moved:
        logger.warning("Answer matches no command", extra={"agent_id": reporter.agent_id, "answers": answers})
