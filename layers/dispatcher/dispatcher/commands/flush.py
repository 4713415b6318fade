"""Agents that come and go: connections recorded, handed over to flush, forgotten."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dispatcher.commands.delivery import Deadline, Delivered, deliver
from dispatcher.commands.model import Dialect
from dispatcher.errors import InvalidRequest
from dispatcher.platform import settings
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Gateway
from dispatcher.platform.observability import logger
from dispatcher.store import connections, delivery
from dispatcher.store.connections import Origin

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

LIVE_PATIENCE_SECONDS = 15.0
"""How long flush waits for a handshake to end; an agent gives up on its own after 10 s."""
WINDOW, WINDOW_MOST = 32, 100
"""Commands that an agent of the second protocol has unacknowledged at most, and what it may ask for instead."""
INVOKE_CONNECT_SECONDS, INVOKE_READ_SECONDS = 1, 2
FIRST_LOOK_SECONDS = 0.02
LAST_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """What connect hands over to flush: which connection's queue is to be delivered."""

    agent_id: str
    connection_id: str
    epoch: int

    def as_event(self) -> dict[str, Any]:
        """Return flush's event."""
        return {"agentId": self.agent_id, "connectionId": self.connection_id, "epoch": self.epoch}

    @classmethod
    def from_event(cls, event: dict[str, Any]) -> "HandedOver":
        """Read flush's event."""
        return cls(agent_id=event["agentId"], connection_id=event["connectionId"], epoch=event["epoch"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How an agent wants to be spoken to: without a dialect, its platform tells."""

    dialect: Dialect | None = None
    window: int = 1

    @classmethod
    def asked_for(cls, query: Mapping[str, str]) -> "Manner":
        """Read the query of the handshake; raises InvalidRequest for a protocol or a window that there is not."""
        protocol, window = query.get("protocol", "1"), query.get("window", str(WINDOW))
        if protocol == "1":
            return cls()
        if protocol != "2":
            raise InvalidRequest("There are the protocols 1 and 2.")
        if not (window.isascii() and window.isdecimal() and 1 <= int(window[:4]) <= WINDOW_MOST):
            raise InvalidRequest(f"The window is a number from 1 to {WINDOW_MOST}.")
        return cls(dialect=Dialect.BATCHING, window=int(window))


def connected(
    conn: Connection, gateway: Gateway, agent_id: str, connection_id: str, *, manner: Manner, origin: Origin
) -> HandedOver | None:
    """Record a new connection and close the ones it supersedes; None where the agent may not connect."""
    opened = connections.open_connection(
        conn, agent_id, connection_id, dialect=manner.dialect, window=manner.window, origin=origin
    )
    if opened is None:
        logger.warning("Connection refused", extra={"agent_id": agent_id})
        return None
    logger.info("Agent connected", extra={"agent_id": agent_id, "epoch": opened.epoch, "connection_id": connection_id})
    for superseded in opened.superseded:
        gateway.close(superseded)
    return HandedOver(agent_id=agent_id, connection_id=connection_id, epoch=opened.epoch)


def hand_over(to_flush: HandedOver) -> None:
    """Invoke flush asynchronously: no post can reach a connection before its $connect has returned.

    A failure is no reason to refuse the agent: the sweep delivers what flush did not.
    """
    try:
        _lambda_client().invoke(
            FunctionName=settings.flush_function(),
            InvocationType="Event",
            Payload=json.dumps(to_flush.as_event()).encode(),
        )
    except (ClientError, BotoCoreError) as error:
        logger.warning("Flush not invoked", extra={"agent_id": to_flush.agent_id, "reason": type(error).__name__})


def flush(conn: Connection, gateway: Gateway, to_flush: HandedOver, deadline: Deadline) -> Delivered:
    """Wait until the connection is live, then deliver the agent's queue; do nothing where a newer connection is there."""
    patience = min(LIVE_PATIENCE_SECONDS, deadline() / 2)
    pause, waited = FIRST_LOOK_SECONDS, 0.0
    while not gateway.is_live(to_flush.connection_id):
        if waited > patience or not connections.is_current(conn, to_flush.agent_id, to_flush.epoch):
            logger.info("Flush found no connection", extra={"agent_id": to_flush.agent_id, "epoch": to_flush.epoch})
            return Delivered()
        time.sleep(pause)
        waited += pause
        pause = min(2 * pause, LAST_LOOK_SECONDS)
    connections.mark_live(conn, to_flush.agent_id, to_flush.epoch)
    return deliver(conn, gateway, to_flush.agent_id, deadline)


def may_speak(conn: Connection, gateway: Gateway, agent_id: str, connection_id: str) -> bool:
    """Tell whether what comes over a connection counts, and close it where it may not stay.

    A socket outlives the decision against its agent when closing it failed.  One that exceeds the agents' rate is closed,
    and what it said until then counts: the agent comes back after a pause, and nothing is lost.
    """
    if not connections.may_speak(conn, agent_id, connection_id):
        logger.warning("Message refused", extra={"agent_id": agent_id, "connection_id": connection_id})
        gateway.close(connection_id)
        return False
    rate = settings.agent_rate()
    if rate and connections.count_message(conn, connection_id) > rate:
        logger.warning("Rate exceeded", extra={"agent_id": agent_id, "connection_id": connection_id, "rate": rate})
        gateway.close(connection_id)
    return True


def disconnected(conn: Connection, agent_id: str, connection_id: str) -> None:
    """Forget this connection, only this one: a late event of an older socket touches nothing of the newer."""
    with conn.transaction():
        connections.note_closed(conn, connection_id)
        delivery.forget_connection(conn, connection_id)
    logger.info("Agent disconnected", extra={"agent_id": agent_id, "connection_id": connection_id})


@cache
def _lambda_client() -> "LambdaClient":
    # Once, and briefly: connect has an agent waiting for its handshake, and the sweep is the other try.
    config = Config(
        connect_timeout=INVOKE_CONNECT_SECONDS, read_timeout=INVOKE_READ_SECONDS, retries={"total_max_attempts": 1}
    )
    return boto3.client("lambda", config=config)
