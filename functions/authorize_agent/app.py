"""Authorizer of the WebSocket API: an agent may connect with its own key, or its reusable token, if it is approved."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.agents import enrolment
from dispatcher.platform import correlation, database, edge
from dispatcher.platform.observability import deadline_of, logged, logger

ANSWER_SECONDS = 1.0
"""What is left of an invocation for the answer."""


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer a WebSocket request authorizer's event with a policy and the agent's id.

    While the database cannot be reached, the context names no agent: then `connect` answers 503, which an authorizer cannot.
    """
    headers = edge.headers_of(event)
    correlation.begin(headers)
    query: dict[str, str] = event.get("queryStringParameters") or {}
    agent_id = query.get("agent_id", "")
    key = headers.get("x-agent-api-key") if edge.came_through(headers) else None
    try:
        with database.within(deadline_of(context)() - ANSWER_SECONDS):
            owner = database.persistently(lambda conn: enrolment.owner_of(conn, key, agent_id))
    except database.INTERRUPTIONS:
        logger.warning("Handshake postponed", extra={"agent_id": agent_id[:128]})
        return _answer(event, "nobody", "Allow", {"postponed": "true"})
    allowed = owner is not None and owner.approval == "approved"
    if not allowed:
        approval = owner.approval if owner else "not authenticated"
        logger.warning("Agent refused", extra={"agent_id": agent_id[:128], "approval": approval})
    if owner is None or not allowed:
        return _answer(event, "nobody", "Deny", {})
    return _answer(event, agent_id, "Allow", {"agentId": agent_id, "keyId": str(owner.key_id)})


def _answer(event: dict[str, Any], principal: str, effect: str, facts: dict[str, str]) -> dict[str, Any]:
    return {
        "principalId": principal,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{"Action": "execute-api:Invoke", "Effect": effect, "Resource": event["methodArn"]}],
        },
        "context": facts,
    }
