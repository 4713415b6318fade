"""Connect: record the connection with a new epoch, close the older one, hand over to flush."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.commands import flush as presence
from dispatcher.commands.flush import Manner
from dispatcher.errors import InvalidRequest
from dispatcher.platform import database
from dispatcher.platform import edge as front_door
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import logger
from dispatcher.store.connections import Origin


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Answer a $connect event; anything but 200 refuses the handshake."""
    del context
    request = event["requestContext"]
    try:
        manner = Manner.asked_for(event.get("queryStringParameters") or {})
    except InvalidRequest as error:
        return {"statusCode": error.status}
    to_flush = database.persistently(
        lambda conn: presence.connected(
            conn,
            ApiGateway.from_environment(),
            request["authorizer"]["agentId"],
            request["connectionId"],
            manner=manner,
            origin=Origin(
                key_id=request["authorizer"].get("keyId"),
                source_ip=front_door.caller(front_door.headers_of(event), request.get("identity", {}).get("sourceIp")),
            ),
        )
    )
    if to_flush is None:
        return {"statusCode": 403}
    presence.hand_over(to_flush)
    return {"statusCode": 200}
