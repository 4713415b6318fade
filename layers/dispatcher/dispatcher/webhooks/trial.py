"""The test call of a webhook: one signed message, sent now, whatever the webhook's state."""

from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from dispatcher.access import audit_log
from dispatcher.access.roles import Operator
from dispatcher.errors import Unavailable
from dispatcher.platform.database import Connection
from dispatcher.platform.lambda_api import NotInvokedError, NotReportedError
from dispatcher.platform.observability import logger
from dispatcher.webhooks import delivery_log, webhook_records
from dispatcher.webhooks.delivery_log import Try
from dispatcher.webhooks.invocation import TEST_WAIT_SECONDS, Batch, invoke_webhook
from dispatcher.webhooks.messages import message_id_of, signed

TYPE = "webhook.test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of a test call."""

    message_id: str
    delivered: bool
    status: int | None
    error: str | None
    milliseconds: int


def send_test(conn: Connection, webhook_id: str, key: str, by: Operator) -> Trial:
    """Send a webhook a message of the type `webhook.test`, and record the try.

    Raises NotFound, and Unavailable if the sender does not report.
    """
    webhook = webhook_records.find(conn, webhook_id, by.scope)
    now = _now(conn)
    message_id = message_id_of(webhook.webhook_id, f"test-{uuid4().hex}")
    data = {"webhookId": str(webhook.webhook_id)}
    message = signed(message_id, TYPE, now, data, key=key, secret_ids=webhook.signing_ids(now), now=now)
    batch = Batch(webhook_id=str(webhook.webhook_id), url=webhook.url, messages=[message])
    try:
        [outcome] = invoke_webhook(batch, seconds=TEST_WAIT_SECONDS)
    except (NotInvokedError, NotReportedError) as error:
        logger.warning("Webhook's sender has not reported", extra={"webhook_id": webhook_id, "reason": str(error)})
        raise Unavailable("The sender of webhooks cannot be reached at present; try again.") from None
    tried = Try(message_id=message_id, event_id=None, type=TYPE, agent_id=None, attempt=1, outcome=outcome)
    with conn.transaction():
        delivery_log.record(conn, webhook.webhook_id, [tried])
        audit_log.record(conn, by.actor, "test webhook", detail={"webhookId": str(webhook.webhook_id)})
    return Trial(
        message_id=message_id,
        delivered=outcome.error is None,
        status=outcome.status,
        error=outcome.error,
        milliseconds=outcome.milliseconds,
    )


def _now(conn: Connection) -> datetime:
    row = conn.execute("select clock_timestamp()").fetchone()
    assert row is not None  # noqa: S101 - it has no where
    now: datetime = row[0]
    return now
