"""Webhooks of a running dispatcher, from outside: its own functions send, its own schedule delivers."""

import json
import threading
from collections.abc import Iterator

import pytest
from standardwebhooks import Webhook as Verifier

from tests.conftest import scratch
from tests.e2e.dispatcher_process import PASSWORD, PATIENCE, Dispatcher, until, up
from tests.integration.webhooks.receivers import Handler, Receiver, receiver

WEBHOOKS = "/api/v1/webhooks"


@pytest.fixture(scope="module")
def own() -> Iterator[Dispatcher]:
    """A dispatcher that allows receivers on this machine."""
    with (
        scratch() as home,
        up(home, DISPATCHER_ADMIN_PASSWORD=PASSWORD, DISPATCHER_WEBHOOKS_PRIVATE="1") as running,
    ):
        yield running
        running.stop()


@pytest.fixture
def to() -> Iterator[Receiver]:
    """A receiver."""
    with receiver() as running:
        yield running


def types(to: Receiver) -> list[str]:
    """Return the types of the messages that a receiver got, in order."""
    return [json.loads(each.body)["type"] for each in to.received]


def test_a_receiver_is_told_in_order_also_when_everything_was_killed(own: Dispatcher, to: Receiver) -> None:
    """The test call, then events; everything is killed while a receiver is called, and goes on when the lease has ended."""
    client = own.client()
    made = client.post(WEBHOOKS, {"url": to.url, "types": ["agent.created", "command.accepted"]})
    tried = client.post(f"{WEBHOOKS}/{made['webhookId']}/test")
    client.post("/api/v1/agents", {"agentId": "edge-1", "platform": "p"})
    until(lambda: len(to.received) == 2)
    killed = threading.Event()

    def hold(_: Handler) -> None:
        killed.wait(PATIENCE)

    to.answers = [hold]
    client.post("/api/v1/agents/edge-1/commands", {"action": "noop"})
    until(lambda: len(to.received) == 3)

    own.kill()
    killed.set()
    own.start()
    with own.database() as conn:
        conn.execute("update webhooks set lease_expires_at = now()")
    until(lambda: len(to.received) == 4)

    assert tried["delivered"], tried
    assert types(to) == ["webhook.test", "agent.created", "command.accepted", "command.accepted"]
    for each in to.received:
        Verifier(made["secret"]).verify(each.body, each.headers)
    assert to.received[2].message_id == to.received[3].message_id
    again = own.client()
    until(lambda: len(again.get(f"{WEBHOOKS}/{made['webhookId']}/deliveries")["deliveries"]) == 3)
    log = again.get(f"{WEBHOOKS}/{made['webhookId']}/deliveries")["deliveries"]
    assert [(entry["type"], entry["status"], entry["attempt"]) for entry in reversed(log)] == [
        ("webhook.test", 204, 1),
        ("agent.created", 204, 1),
        ("command.accepted", 204, 1),
    ]
    assert made["secret"] not in own.log + own.output
