"""Message: settle what an agent reports, and deliver what its window now admits."""

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
    """Answer a $default event; a bad message is no error of this function, and its connection stays open."""
    correlation.begin()
    request_id = event["requestContext"]["requestId"]
    gateway = ApiGateway.from_environment()
    conversation.handle(Said.from_event(event), request_id, gateway, SessionStates(), deadline_of(context))
    return {"statusCode": 200}
