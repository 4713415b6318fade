"""Webhook: send signed messages to one receiver.  It knows neither a secret nor the database, and is outside of its network."""

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.platform import correlation, settings
from dispatcher.platform.observability import logged
from dispatcher.webhooks.invocation import Batch
from dispatcher.webhooks.receiver_connection import Internet
from dispatcher.webhooks.sending import send


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take {webhookId, url, messages, correlationId}; return the outcomes of the messages that were tried, in order."""
    del context
    correlation.resume(event.get("correlationId"))
    batch = Batch.from_event(event)
    outcomes = send(batch.url, batch.messages, Internet(), private=settings.webhooks_private())
    return {"outcomes": [asdict(outcome) for outcome in outcomes]}
