"""Authorizer of the WebSocket API: an agent may connect with its own key, or its reusable token, if it is approved."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.agents import enrolment
from dispatcher.platform import database, edge
from dispatcher.platform.observability import logger


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer a WebSocket request authorizer's event with a policy and the agent's id."""
    del context
    headers = edge.headers_of(event)
    query: dict[str, str] = event.get("queryStringParameters") or {}
    agent_id = query.get("agent_id", "")
    key = headers.get("x-agent-api-key") if edge.came_through(headers) else None
    owner = database.persistently(lambda conn: enrolment.owner_of(conn, key, agent_id))
    allowed = owner is not None and owner.approval == "approved"
    if not allowed:
        approval = owner.approval if owner else "not authenticated"
        logger.warning("Agent refused", extra={"agent_id": agent_id[:128], "approval": approval})
    return {
        "principalId": agent_id if allowed else "nobody",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "execute-api:Invoke",
                    "Effect": "Allow" if allowed else "Deny",
                    "Resource": event["methodArn"],
                }
            ],
        },
        "context": {"agentId": agent_id, "keyId": str(owner.key_id)} if owner and allowed else {},
    }
