"""Disconnect: forget this connection, only this one."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.commands import flush as presence
from dispatcher.platform import database
from dispatcher.platform.observability import logger


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Answer a $disconnect event, which may come late, twice or never."""
    del context
    request = event["requestContext"]
    database.persistently(
        lambda conn: presence.disconnected(conn, request["authorizer"]["agentId"], request["connectionId"])
    )
    return {"statusCode": 200}
