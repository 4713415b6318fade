"""Flush: delivers the queues of agents, as soon as the handshake of one that has just connected is over."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dispatcher.agents import connections, presence
from dispatcher.agents.connections import Opened
from dispatcher.commands import claims
from dispatcher.commands.delivery import POST_SECONDS, Deadline, Delivered, deliver
from dispatcher.platform import correlation, lambda_api, settings
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Gateway, Posted
from dispatcher.platform.observability import logger
from dispatcher.protocol.frames import welcome_message
from dispatcher.protocol.handshake import DeliveryMode

LIVE_PATIENCE_SECONDS = 15.0
"""How long flush waits for the end of a handshake; an agent gives up after 10 s."""
RESUME_PATIENCE_SECONDS = 1.0
"""How long flush waits to learn what arrived over an older connection."""
FLUSH_PATIENCE_SECONDS = 1.0
"""How long an answer to an agent waits for flush to post the welcome."""
FIRST_LOOK_SECONDS = 0.02
LAST_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushRequest:
    """An event of `flush`: the agent that has just connected, and the connection."""

    agent_id: str
    connection_id: str
    epoch: int
    welcome: bool = False
    """Whether the agent speaks protocol 2: then it gets a welcome first."""
    may_have_arrived: bool = True
    """Whether the agent may say of its next commands that they arrived already; see `connections.Opened`."""

    @classmethod
    def of_new(cls, agent_id: str, connection_id: str, opened: Opened) -> "FlushRequest":
        """Return the request for a connection that was just recorded."""
        return cls(
            agent_id=agent_id,
            connection_id=connection_id,
            epoch=opened.epoch,
            welcome=opened.mode is DeliveryMode.BATCHING,
            may_have_arrived=opened.may_have_arrived,
        )

    def as_event(self) -> dict[str, Any]:
        """Return the event."""
        return {
            "agentId": self.agent_id,
            "connectionId": self.connection_id,
            "epoch": self.epoch,
            "welcome": self.welcome,
            "mayHaveArrived": self.may_have_arrived,
        }

    @classmethod
    def from_event(cls, event: dict[str, Any]) -> "FlushRequest":
        """Read the event; one of an older version lacks the last members."""
        return cls(
            agent_id=event["agentId"],
            connection_id=event["connectionId"],
            epoch=event["epoch"],
            welcome=event.get("welcome", False),
            may_have_arrived=event.get("mayHaveArrived", True),
        )


def invoke_flush(request: FlushRequest) -> None:
    """Invoke flush asynchronously: no post can reach a connection before its $connect event has been answered.

    A failure does not refuse the agent: the sweep delivers what flush did not.
    """
    _invoke(request.as_event(), request.agent_id)


def invoke_flush_of(agent_ids: Sequence[str]) -> None:
    """Invoke flush asynchronously for connected agents; a failure is left to the sweep."""
    _invoke({"agentIds": list(agent_ids)}, agent_ids[0])


def _invoke(event: dict[str, Any], agent_id: str) -> None:
    event = {**event, "correlationId": correlation.current()}
    reason = lambda_api.invoke_event(settings.flush_function(), json.dumps(event).encode())
    if reason is not None:
        logger.warning("Flush not invoked", extra={"agent_id": agent_id, "reason": reason})


def hand_over(conn: Connection, agent_ids: Iterable[str]) -> None:
    """Have those of these agents that are connected get what waits for them, so that the answer waits for no delivery."""
    unique = list(dict.fromkeys(agent_ids))
    rows = conn.execute(
        "select agent_id from agents where agent_id = any(%s) and connection_id is not null", (unique,)
    ).fetchall()
    if rows:
        invoke_flush_of([agent_id for (agent_id,) in rows])


def flush(conn: Connection, gateway: Gateway, request: FlushRequest, deadline: Deadline) -> Delivered:
    """Wait until the connection is live, then deliver the agent's queue; do nothing where a newer connection exists."""
    end = time.monotonic() + min(LIVE_PATIENCE_SECONDS, deadline() / 2)
    pause = FIRST_LOOK_SECONDS
    while not _is_welcomed(conn, request) and not _reach(gateway, request):
        if time.monotonic() > end or not connections.is_current(conn, request.agent_id, request.epoch):
            logger.info("Flush found no connection", extra={"agent_id": request.agent_id, "epoch": request.epoch})
            return Delivered()
        time.sleep(pause)
        pause = min(2 * pause, LAST_LOOK_SECONDS)
    if request.welcome and request.may_have_arrived:
        _wait_for_resume(conn, request)
    return deliver_to_reached(conn, gateway, request, deadline)


def _wait_for_resume(conn: Connection, request: FlushRequest) -> None:
    """Learn first what arrived over an older connection without an ack, so that it is not sent again."""
    end = time.monotonic() + RESUME_PATIENCE_SECONDS
    while claims.may_have_arrived(conn, request.agent_id, request.epoch) and time.monotonic() < end:
        time.sleep(FIRST_LOOK_SECONDS)


def deliver_to_reached(conn: Connection, gateway: Gateway, request: FlushRequest, deadline: Deadline) -> Delivered:
    """Record that the handshake is over, and deliver the agent's queue."""
    claim = claims.claim_live(conn, request.agent_id, request.epoch)
    return Delivered() if claim is None else deliver(conn, gateway, request.agent_id, deadline, claim=claim)


def flush_agents(conn: Connection, gateway: Gateway, agent_ids: Sequence[str], deadline: Deadline) -> Delivered:
    """Deliver the queues of agents, one after another, while time is left; the sweep does the rest."""
    sent = claimed = 0
    for agent_id in agent_ids:
        if deadline() < 2 * POST_SECONDS:
            break
        delivered = deliver(conn, gateway, agent_id, deadline)
        sent, claimed = sent + delivered.sent, claimed + delivered.claimed
    return Delivered(sent=sent, claimed=claimed)


def welcome(conn: Connection, gateway: Gateway, request: FlushRequest) -> bool:
    """Make sure that an agent that speaks at once gets its welcome before an answer: post it where flush is slow or lost."""
    end = time.monotonic() + FLUSH_PATIENCE_SECONDS
    while not _is_welcomed(conn, request):
        if time.monotonic() > end:
            return _reach(gateway, request)
        time.sleep(FIRST_LOOK_SECONDS)
    return True


def _is_welcomed(conn: Connection, request: FlushRequest) -> bool:
    """Tell whether the agent has its welcome."""
    return request.welcome and connections.is_live(conn, request.agent_id, request.epoch)


def _reach(gateway: Gateway, request: FlushRequest) -> bool:
    """Post the welcome, or look whether the connection accepts posts; tell whether it does."""
    if not request.welcome:
        return gateway.is_live(request.connection_id)
    text = welcome_message(
        epoch=request.epoch,
        heartbeat_seconds=settings.heartbeat_seconds(),
        move_after_seconds=presence.MOVE_AFTER_SECONDS,
    )
    return gateway.post(request.connection_id, text) is Posted.TAKEN
