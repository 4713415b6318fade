"""Connect: record the connection with a new epoch, close the older one, hand over to flush."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.agents import connections
from dispatcher.agents.connections import Origin
from dispatcher.commands.flush import FlushRequest, invoke_flush
from dispatcher.errors import InvalidRequest
from dispatcher.platform import correlation, database, edge
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import deadline_of, logged, logger
from dispatcher.protocol.handshake import Handshake

ANSWER_SECONDS = 1.0
"""What is left of an invocation for the answer: a worker that is killed gives the agent a 502."""

SAFETY_SECONDS = 0.2
"""How long before that the database stops recording the connection: its answer takes a while."""


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Answer a $connect event; any status but 200 refuses the handshake."""
    correlation.begin(edge.headers_of(event))
    request = event["requestContext"]
    if "postponed" in request["authorizer"]:
        return {"statusCode": 503}  # the database could not say who this is; the agent comes again
    agent_id, connection_id = request["authorizer"]["agentId"], request["connectionId"]
    source_ip = edge.caller_address(edge.headers_of(event), request.get("identity", {}).get("sourceIp"))
    origin = Origin(key_id=request["authorizer"].get("keyId"), source_ip=source_ip)
    try:
        handshake = Handshake.from_query(event.get("queryStringParameters") or {})
    except InvalidRequest as error:
        return {"statusCode": error.status}
    deadline = deadline_of(context)
    try:
        with database.within(deadline() - ANSWER_SECONDS):
            opened = database.persistently(
                lambda conn: connections.open_connection(
                    conn,
                    agent_id,
                    connection_id,
                    handshake=handshake,
                    origin=origin,
                    patience=deadline() - ANSWER_SECONDS - SAFETY_SECONDS,
                )
            )
    except database.INTERRUPTIONS:
        logger.warning("Connection postponed", extra={"agent_id": agent_id})
        return {"statusCode": 503}  # the agent comes again
    if opened is None:
        return {"statusCode": 403}
    connections.close_superseded(ApiGateway.from_environment(hurried=True), opened)
    invoke_flush(FlushRequest.of_new(agent_id, connection_id, opened))
    return {"statusCode": 200}
