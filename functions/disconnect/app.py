"""Disconnect: forget only this connection."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.agents import connections
from dispatcher.platform import correlation, database
from dispatcher.platform.observability import logged, logger


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Answer a $disconnect event, which may come late, twice or never."""
    del context
    correlation.begin()
    request = event["requestContext"]
    agent_id, connection_id = request["authorizer"].get("agentId"), request["connectionId"]
    if agent_id is None:  # the handshake was postponed (see `connect`): nothing was recorded
        return {"statusCode": 200}
    database.persistently(lambda conn: connections.forget(conn, agent_id, connection_id))
    logger.info("Agent disconnected", extra={"agent_id": agent_id, "connection_id": connection_id})
    return {"statusCode": 200}
