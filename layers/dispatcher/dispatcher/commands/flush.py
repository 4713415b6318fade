"""Flush: delivers the queue of an agent that has just connected, as soon as its handshake is over."""

import json
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dispatcher.agents import connections
from dispatcher.commands.delivery import Deadline, Delivered, deliver
from dispatcher.platform import settings
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Gateway
from dispatcher.platform.observability import logger

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

LIVE_PATIENCE_SECONDS = 15.0
"""How long flush waits for the end of a handshake; an agent gives up after 10 s."""
INVOKE_CONNECT_SECONDS, INVOKE_READ_SECONDS = 1, 2
FIRST_LOOK_SECONDS = 0.02
LAST_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushRequest:
    """The event of `flush`: the agent whose queue is delivered, and the connection."""

    agent_id: str
    connection_id: str
    epoch: int

    def as_event(self) -> dict[str, Any]:
        """Return the event."""
        return {"agentId": self.agent_id, "connectionId": self.connection_id, "epoch": self.epoch}

    @classmethod
    def from_event(cls, event: dict[str, Any]) -> "FlushRequest":
        """Read the event."""
        return cls(agent_id=event["agentId"], connection_id=event["connectionId"], epoch=event["epoch"])


def invoke_flush(request: FlushRequest) -> None:
    """Invoke flush asynchronously: no post can reach a connection before its $connect event has been answered.

    A failure does not refuse the agent: the sweep delivers what flush did not.
    """
    try:
        _lambda_client().invoke(
            FunctionName=settings.flush_function(),
            InvocationType="Event",
            Payload=json.dumps(request.as_event()).encode(),
        )
    except (ClientError, BotoCoreError) as error:
        logger.warning("Flush not invoked", extra={"agent_id": request.agent_id, "reason": type(error).__name__})


def flush(conn: Connection, gateway: Gateway, request: FlushRequest, deadline: Deadline) -> Delivered:
    """Wait until the connection is live, then deliver the agent's queue; do nothing where a newer connection exists."""
    end = time.monotonic() + min(LIVE_PATIENCE_SECONDS, deadline() / 2)
    pause = FIRST_LOOK_SECONDS
    while not gateway.is_live(request.connection_id):
        if time.monotonic() > end or not connections.is_current(conn, request.agent_id, request.epoch):
            logger.info("Flush found no connection", extra={"agent_id": request.agent_id, "epoch": request.epoch})
            return Delivered()
        time.sleep(pause)
        pause = min(2 * pause, LAST_LOOK_SECONDS)
    connections.mark_live(conn, request.agent_id, request.epoch)
    return deliver(conn, gateway, request.agent_id, deadline)


@cache
def _lambda_client() -> "LambdaClient":
    # One short try: an agent waits for its handshake, and the sweep is the second try.
    config = Config(
        connect_timeout=INVOKE_CONNECT_SECONDS, read_timeout=INVOKE_READ_SECONDS, retries={"total_max_attempts": 1}
    )
    return boto3.client("lambda", config=config)
