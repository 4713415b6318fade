"""Flush: deliver the queues of agents, once the handshake of a new connection is over.  Invoked asynchronously."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.commands.flush import FlushRequest, flush, flush_agents
from dispatcher.platform import correlation, database
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import deadline_of, logged


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Take {agentId, connectionId, epoch, welcome}, or {agentIds}; return how many commands were claimed and sent."""
    correlation.resume(event.get("correlationId"))
    gateway, deadline = ApiGateway.from_environment(), deadline_of(context)
    with database.connect() as conn:
        if "agentIds" in event:
            delivered = flush_agents(conn, gateway, event["agentIds"], deadline)
        else:
            delivered = flush(conn, gateway, FlushRequest.from_event(event), deadline)
    return {"sent": delivered.sent, "claimed": delivered.claimed}
