"""Message: settle what an agent reports, then deliver what its window now admits."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.agents import presence
from dispatcher.commands import reports
from dispatcher.commands.delivery import deliver
from dispatcher.platform import database
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import deadline_of, logger
from dispatcher.protocol.decoding import text_of
from dispatcher.sessions.session_records import SessionStates


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Answer a $default event; a bad message is no error of this function, and its connection stays open."""
    request = event["requestContext"]
    agent_id, connection_id = request["authorizer"]["agentId"], request["connectionId"]
    gateway = ApiGateway.from_environment()

    def receive(conn: Connection) -> bool:
        admitted = presence.admit_message(conn, gateway, agent_id, connection_id)
        return admitted and reports.receive(conn, agent_id, connection_id, text_of(event), SessionStates())

    # Agents of protocol 1 report everything once: a report that is lost here is lost for good.
    if database.persistently(receive):
        with database.connect() as conn:
            deliver(conn, gateway, agent_id, deadline_of(context))
    return {"statusCode": 200}
