"""Heartbeat: record a sign of life.  A function of its own, so that heartbeats never stand in the way of results."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.commands import conversation
from dispatcher.platform import correlation
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import deadline_of, logged
from dispatcher.protocol.said import Said
from dispatcher.sessions.session_records import SessionStates


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Answer an event of the route `heartbeat`."""
    correlation.begin()
    gateway = ApiGateway.from_environment()
    conversation.handle(Said.from_event(event), None, gateway, SessionStates(), deadline_of(context))
    return {"statusCode": 200}
