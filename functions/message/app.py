"""Message: an agent's frames.  Settle, heartbeat, status; deliver what its window now admits."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.commands import flush as presence
from dispatcher.commands import reports
from dispatcher.commands.delivery import deliver
from dispatcher.platform import database
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import deadline_of, logger
from dispatcher.protocol.decoding import text_of


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Answer a $default event; an error of the agent's is no error of this function, and its socket stays open."""
    request = event["requestContext"]
    agent_id, text = request["authorizer"]["agentId"], text_of(event)
    gateway = ApiGateway.from_environment()

    def take(conn: Connection) -> bool:
        return presence.may_speak(conn, gateway, agent_id, request["connectionId"]) and reports.receive(
            conn, agent_id, request["connectionId"], text
        )

    # A report that is lost here is lost for good: agents of the first protocol say everything once.
    if database.persistently(take):
        with database.connect() as conn:
            deliver(conn, gateway, agent_id, deadline_of(context))
    return {"statusCode": 200}
