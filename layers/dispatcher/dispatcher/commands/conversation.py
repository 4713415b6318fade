"""One message of an agent, from its arrival to what the agent gets in return."""

from collections.abc import Callable
from typing import TypeVar

import psycopg

from dispatcher.commands import flush, late_reports, reports
from dispatcher.commands.delivery import Deadline, deliver
from dispatcher.commands.flush import FlushRequest
from dispatcher.commands.late_reports import KEEP_SECONDS, Kept
from dispatcher.commands.reports import Received, SessionObserver
from dispatcher.platform import database, settings
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Gateway
from dispatcher.platform.observability import logger
from dispatcher.protocol.frames import received_message
from dispatcher.protocol.handshake import DeliveryMode
from dispatcher.protocol.said import Said

T = TypeVar("T")

TRY_SECONDS = 6.0
"""How long one more try may take: a log-in with an old password and one with a new one, or a wait for a lock."""


def handle(said: Said, event_id: str | None, gateway: Gateway, observer: SessionObserver, deadline: Deadline) -> None:
    """Settle a message and answer it, or keep it under `event_id` while the database cannot be reached.

    Agents of protocol 1 report everything once: a report that is lost here is lost for good.  A heartbeat has no event id: the
    next one is as good.
    """
    try:
        with database.within(deadline() - KEEP_SECONDS):
            received = database.persistently(
                lambda conn: reports.receive(conn, said, observer),
                has_time=lambda: not _has_queue() or deadline() > TRY_SECONDS + KEEP_SECONDS,
            )
    except database.INTERRUPTIONS:
        if event_id is None:
            logger.warning("Heartbeat dropped", extra={"agent_id": said.agent_id})
            return
        if not _has_queue():
            raise
        late_reports.keep(said, event_id)
        return
    answer(said, received, gateway, deadline)


def handle_kept(kept: list[Kept], gateway: Gateway, observer: SessionObserver, deadline: Deadline) -> list[str]:
    """Settle and answer messages that were kept; return the ids of those that the queue must bring again."""
    return late_reports.settle_kept(kept, observer, lambda said, received: answer(said, received, gateway, deadline))


def answer(said: Said, received: Received, gateway: Gateway, deadline: Deadline) -> None:
    """Confirm what is committed, and deliver what was claimed.

    A connection whose agent has lost its right is closed: an earlier attempt to close it failed.  One that exceeds the rate is
    closed, too, but what it said so far counts: the agent reconnects, and nothing is lost.
    """
    if received.refused:
        logger.warning("Message refused", extra=_fields(said))
        gateway.close(said.connection_id)
        return
    if received.confirm and received.unwelcomed is not None:
        # The first message to an agent is its welcome; this one has spoken before it.
        request = FlushRequest(
            agent_id=said.agent_id, connection_id=said.connection_id, epoch=received.unwelcomed, welcome=True
        )
        if not _after_commit(said, lambda conn: flush.welcome(conn, gateway, request)):
            return
        _confirm(said, received, gateway)
        _after_commit(said, lambda conn: flush.deliver_to_reached(conn, gateway, request, deadline))
    else:
        _confirm_and_deliver(said, received, gateway, deadline)
    if received.too_many:
        logger.warning("Rate exceeded", extra={**_fields(said), "rate": settings.agent_rate()})
        gateway.close(said.connection_id)


def _confirm_and_deliver(said: Said, received: Received, gateway: Gateway, deadline: Deadline) -> None:
    claim = received.claim
    if claim is None:
        _confirm(said, received, gateway)
        return
    together = received.confirm_in_commands and claim.mode is DeliveryMode.BATCHING
    if together:
        claim = claim._replace(received=received.confirm)
    else:
        _confirm(said, received, gateway)
    delivered = _after_commit(said, lambda conn: deliver(conn, gateway, said.agent_id, deadline, claim=claim))
    if together and not (delivered is not None and delivered.confirmed):
        _confirm(said, received, gateway)  # requests to stop only, a command that leaves no room, or a failed post


def _fields(said: Said) -> dict[str, str]:
    return {"agent_id": said.agent_id, "connection_id": said.connection_id}


def _has_queue() -> bool:
    return settings.late_reports_queue() is not None


def _confirm(said: Said, received: Received, gateway: Gateway) -> None:
    for message_id in received.confirm:
        gateway.post(said.connection_id, received_message(message_id))


def _after_commit(said: Said, work: Callable[[Connection], T]) -> T | None:
    """Do what the database may interrupt: what was said is committed, and the sweep does the rest."""
    try:
        with database.connect() as conn:
            return work(conn)
    except psycopg.Error as error:
        logger.warning("Delivery postponed", extra={"agent_id": said.agent_id, "reason": type(error).__name__})
        return None
