"""Random histories of failures: no event is lost, and none overtakes another."""

import json
import random
from itertools import pairwise

import pytest

from dispatcher.events import feed
from dispatcher.platform.database import Connection
from dispatcher.platform.lambda_api import NotInvokedError, NotReportedError
from dispatcher.webhooks import webhook_records
from dispatcher.webhooks.invocation import Batch
from dispatcher.webhooks.sending import Message, Outcome
from dispatcher.webhooks.webhook_records import NewWebhook
from tests.integration.webhooks.deliveries import ADA, KEY, deliver, make_due, read
from tests.rows import put

pytestmark = pytest.mark.usefixtures("ada")


class UnreliableSender:
    """A receiver and its sender, which fail when the seed says so."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.accepted: list[str] = []
        """The commands of the messages that the receiver has accepted, in order."""

    def __call__(self, batch: Batch, *, seconds: float) -> list[Outcome]:
        """Send a batch."""
        del seconds
        if self._happens(0.1):
            raise NotInvokedError("HTTP 429")
        outcomes: list[Outcome] = []
        for message in batch.messages:
            outcomes.append(self._send(message))
            time_is_up = self._happens(0.05)
            if outcomes[-1].error is not None or time_is_up:
                break
        return outcomes

    def _send(self, message: Message) -> Outcome:
        if self._happens(0.05):
            raise NotReportedError("killed before it was sent")
        if self._happens(0.1):
            return Outcome(status=500, error="it answered 500")
        self.accepted.append(json.loads(message.body)["data"]["commandId"])
        if self._happens(0.05):
            raise NotReportedError("killed after it was sent")
        return Outcome(status=204)

    def _happens(self, probability: float) -> bool:
        return self._chance.random() < probability


@pytest.mark.parametrize("seed", range(5))
def test_whatever_fails_no_event_is_lost_and_none_overtakes_another(conn: Connection, seed: int) -> None:
    """Receivers fail, senders are killed before or after a message, and Lambda refuses."""
    chance = random.Random(seed)  # noqa: S311 - it repeats a history
    sender = UnreliableSender(chance)
    new = NewWebhook(url="https://receiver.example/", types=None, selector=None, description=None)
    webhook, _ = webhook_records.create(conn, new, KEY, ADA)

    names: list[str] = []
    for _ in range(15):
        for _ in range(chance.randrange(5)):
            names.append(f"k{len(names)}")
            put(conn, names[-1])
        make_due(conn)
        deliver(conn, sender)
    while read(conn, webhook).cursor != str(feed.newest(conn)):
        make_due(conn)
        deliver(conn, sender)

    assert list(dict.fromkeys(sender.accepted)) == names  # each is there, and the first deliveries are in order
    for before, after in pairwise(sender.accepted):  # a repetition goes back, and then on from there
        assert names.index(after) <= names.index(before) + 1
