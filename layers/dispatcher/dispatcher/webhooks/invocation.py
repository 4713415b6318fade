"""The functions that deliver: `deliver_webhooks`, and `webhook`, which is outside of the network of the database."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from dispatcher.platform import correlation, lambda_api, settings
from dispatcher.platform.database import Connection
from dispatcher.platform.lambda_api import NotReportedError
from dispatcher.platform.observability import logger
from dispatcher.webhooks.sending import Message, Outcome

BATCH_WAIT_SECONDS = 35.0
"""How long the outcomes of a batch are waited for; the function ends before."""
TEST_WAIT_SECONDS = 15.0
"""The same for one message, which takes ten seconds at most: somebody waits for the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """An event of `webhook`: signed messages for one receiver, in their order."""

    webhook_id: str
    url: str
    messages: Sequence[Message]

    def as_event(self) -> dict[str, Any]:
        """Return the event."""
        messages = [asdict(message) for message in self.messages]
        return {"webhookId": self.webhook_id, "url": self.url, "messages": messages}

    @classmethod
    def from_event(cls, event: dict[str, Any]) -> "Batch":
        """Read the event."""
        messages = [Message(**message) for message in event["messages"]]
        return cls(webhook_id=event["webhookId"], url=event["url"], messages=messages)


class Sender(Protocol):
    """What deliveries need from the sender."""

    def __call__(self, batch: Batch, *, seconds: float) -> list[Outcome]:
        """Send a batch, and wait so long for its outcomes; raises NotInvokedError and NotReportedError."""
        ...


def wake_deliveries(conn: Connection) -> None:
    """Invoke `deliver_webhooks` if only one webhook is enabled, which just was: it would begin within a minute only.

    A failure is left to its schedule.
    """
    if conn.execute("select count(*) from webhooks where disabled_at is null").fetchone() != (1,):
        return
    reason = lambda_api.invoke_event(settings.deliver_webhooks_function(), b"{}")
    if reason is not None:
        logger.warning("Deliveries of webhooks not invoked", extra={"reason": reason})


def invoke_webhook(batch: Batch, *, seconds: float) -> list[Outcome]:
    """Invoke the function `webhook`, and wait for the outcomes of the messages that it tried.

    Raises NotInvokedError and NotReportedError.
    """
    event = {**batch.as_event(), "correlationId": correlation.current()}
    answer = lambda_api.invoke_and_wait(settings.webhook_function(), json.dumps(event).encode(), seconds)
    try:
        return [Outcome(**outcome) for outcome in answer["outcomes"]]
    except (KeyError, TypeError):  # it is of another version, during a deployment
        raise NotReportedError("it answered in another form") from None
