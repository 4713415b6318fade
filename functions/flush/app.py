"""Flush: wait until the connection is live, then deliver the agent's queue.  Invoked asynchronously."""

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.commands.flush import FlushRequest, flush
from dispatcher.platform import database
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import deadline_of, logger


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Take {agentId, connectionId, epoch} from connect; return how many commands were claimed and sent."""
    with database.connect() as conn:
        delivered = flush(conn, ApiGateway.from_environment(), FlushRequest.from_event(event), deadline_of(context))
    return asdict(delivered)
