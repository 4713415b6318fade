"""Deliveries from the feed to real receivers: complete, in order, signed, and each webhook for itself."""

import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.lambda_api import NotInvokedError, NotReportedError
from dispatcher.webhooks import delivery_log, webhook_queue, webhook_run
from dispatcher.webhooks.invocation import Batch
from dispatcher.webhooks.sending import Outcome
from dispatcher.webhooks.webhook_run import Ran
from tests.e2e.dispatcher_process import until
from tests.integration.webhooks.deliveries import (
    ALL_READABLE,
    KEY,
    deliver,
    make_due,
    read,
    sender,
    tell,
    told,
)
from tests.integration.webhooks.receivers import Handler
from tests.rows import put

pytestmark = pytest.mark.usefixtures("ada")


def test_a_webhook_is_told_of_what_happens_from_now_on_in_order(conn: Connection, start: Any) -> None:
    """Each event is one message, in the form of Standard Webhooks, and its signature is right."""
    put(conn, "before")
    to = start()
    _, secret = tell(conn, to)
    put(conn, "k1")
    put(conn, "k2")
    conn.execute(
        "update agent_commands set status = 'cancelled', moves = moves + 1, cause = 'x' where command_id = 'k1'"
    )

    ran = deliver(conn)

    assert told(to) == [("k1", "command.accepted"), ("k2", "command.accepted"), ("k1", "command.cancelled")]
    assert ran == Ran(webhook_messages=3)
    for each in to.received:
        body = Verifier(secret).verify(each.body, each.headers)
        assert body["type"] == body["data"]["type"]
        assert body["timestamp"] == body["data"]["at"]
    assert len({each.message_id for each in to.received}) == 3
    assert deliver(conn) == Ran()


def test_the_receiver_in_the_document_verifies_a_message(conn: Connection, start: Any, root: Path) -> None:
    """The code in docs/webhooks.md, as it is there."""
    [code] = re.findall(r"```python\n(.*?)```", (root / "docs/webhooks.md").read_text(), re.DOTALL)
    to = start()
    _, secret = tell(conn, to)
    put(conn, "k1")
    deliver(conn)

    names: dict[str, Any] = {"secret": secret, "body": to.received[0].body, "headers": to.received[0].headers}
    exec(code, names)  # noqa: S102 - it is in this repository

    assert names["event"]["data"]["commandId"] == "k1"


def test_a_failed_message_is_sent_again_first_with_the_same_id_and_a_new_time(conn: Connection, start: Any) -> None:
    """What was accepted is not repeated; the log has each try."""
    to = start()
    webhook, secret = tell(conn, to)
    for name in ("k1", "k2", "k3"):
        put(conn, name)
    to.answers = [200, 500]

    deliver(conn)
    failing = read(conn, webhook)
    assert deliver(conn) == Ran()  # it is not due yet
    make_due(conn)
    deliver(conn)

    assert [name for name, _ in told(to)] == ["k1", "k2", "k2", "k3"]
    assert to.received[1].message_id == to.received[2].message_id
    Verifier(secret).verify(to.received[2].body, to.received[2].headers)
    assert (failing.failures, failing.enabled) == (1, True)
    assert failing.next_try_at is not None
    assert failing.waiting_since is not None
    assert read(conn, webhook).failures == 0
    log = delivery_log.list_page(conn, webhook.webhook_id, before=None, limit=10)
    assert [(each.status, each.error, each.attempt) for each in reversed(log)] == [
        (200, None, 1),
        (500, "it answered 500", 1),
        (204, None, 2),
        (204, None, 1),
    ]


def test_a_slow_receiver_and_a_dead_one_delay_no_other(conn: Connection, start: Any) -> None:
    """Each has a place of its own, while the others are told."""
    slow, dead, prompt = start(), start(), start()
    release = threading.Event()

    def wait(_: Handler) -> None:
        release.wait(5)

    slow.answers = [wait]
    for to in (slow, dead, prompt):
        tell(conn, to)
    conn.execute("update webhooks set url = 'http://127.0.0.1:9/' where url = %s", (dead.url,))
    put(conn, "k1")

    def waits_for_the_prompt_one(batch: Batch, *, seconds: float) -> list[Outcome]:
        outcomes = sender(batch, seconds=seconds)
        if batch.url == prompt.url:
            release.set()
        return outcomes

    ran = deliver(conn, waits_for_the_prompt_one)

    assert release.is_set()
    assert told(prompt) == [("k1", "command.accepted")]
    assert ran.webhook_messages == 1
    assert ran.webhook_failures == 2


def test_slow_webhooks_share_half_of_the_places(conn: Connection, start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of them there are, a prompt one finds a place."""
    monkeypatch.setattr(webhook_run, "PLACES", 2)
    monkeypatch.setattr(webhook_run, "SLOW_PLACES", 1)
    to = start()
    tell(conn, to, description="slow")
    tell(conn, to, description="slow")
    prompt, _ = tell(conn, to)
    conn.execute("update webhooks set slow = true where description = 'slow'")
    put(conn, "k1")
    began: list[str] = []
    together = threading.Barrier(2, timeout=5)

    def at_the_same_time(batch: Batch, *, seconds: float) -> list[Outcome]:
        began.append(batch.webhook_id)
        if len(began) <= 2:
            together.wait()
        return sender(batch, seconds=seconds)

    deliver(conn, at_the_same_time)

    assert str(prompt.webhook_id) in began[:2]


def test_the_lease_keeps_a_second_run_away_and_ends_by_itself(conn: Connection, start: Any) -> None:
    """A sender that is killed loses nothing: after its lease the same messages are sent again."""
    to = start()
    webhook, _ = tell(conn, to)
    put(conn, "k1")

    def killed(batch: Batch, *, seconds: float) -> list[Outcome]:
        sender(batch, seconds=seconds)
        raise NotReportedError("Sandbox.Timedout")

    deliver(conn, killed)
    assert deliver(conn) == Ran()
    make_due(conn)
    deliver(conn)

    assert [name for name, _ in told(to)] == ["k1", "k1"]
    assert to.received[0].message_id == to.received[1].message_id
    assert read(conn, webhook).failures == 0  # the fault was not the receiver's


def test_two_runs_at_the_same_time_send_each_message_once(conn: Connection, database_url: str, start: Any) -> None:
    """One run ends while the next one has begun: each webhook has one lease."""
    receivers = [start() for _ in range(3)]
    for to in receivers:
        tell(conn, to)
    names = [f"k{number}" for number in range(60)]  # more than one batch
    for name in names:
        put(conn, name)

    def deliver_too() -> None:
        with open_connection(database_url) as other:
            deliver(other)

    second = threading.Thread(target=deliver_too)
    second.start()
    deliver(conn)
    second.join()
    deliver(conn)

    for to in receivers:
        assert [name for name, _ in told(to)] == names


def test_a_result_under_a_lost_lease_changes_nothing(conn: Connection, start: Any) -> None:
    """The first sender comes back late; the second one has the lease."""
    to = start()
    webhook, _ = tell(conn, to)
    put(conn, "k1")
    before = read(conn, webhook).cursor
    claimed = webhook_queue.claim(conn, webhook.webhook_id)
    assert claimed is not None
    make_due(conn)
    assert webhook_queue.claim(conn, webhook.webhook_id) is not None

    assert not webhook_queue.settle(conn, claimed, webhook_queue.Result(cursor="elsewhere"), None)

    assert read(conn, webhook).cursor == before


def test_a_batch_that_the_sender_did_not_get_is_no_failure(conn: Connection, start: Any) -> None:
    """Lambda may be throttled; the batch comes again within seconds."""
    to = start()
    webhook, _ = tell(conn, to)
    put(conn, "k1")

    def throttled(*_: Any, **__: Any) -> list[Outcome]:
        raise NotInvokedError("HTTP 429")

    deliver(conn, throttled)
    assert read(conn, webhook).failures == 0
    make_due(conn)
    deliver(conn)

    assert told(to) == [("k1", "command.accepted")]


def test_the_delivery_log_is_bounded(conn: Connection, start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest entries of each webhook stay."""
    monkeypatch.setattr(delivery_log, "KEPT", 2)
    webhook, _ = tell(conn, start())
    other, _ = tell(conn, start())
    for name in ("k1", "k2", "k3"):
        put(conn, name)
    deliver(conn)

    for each in (webhook, other):
        assert len(delivery_log.list_page(conn, each.webhook_id, before=None, limit=10)) == 2
    conn.execute("update webhook_deliveries set at = now() - interval '31 days'")
    assert delivery_log.prune(conn, 3) == 3


def test_a_webhook_that_does_not_keep_up_shows_since_when(conn: Connection, start: Any, monkeypatch: Any) -> None:
    """Also while every batch is accepted: the alarm must ring for a receiver that is too slow."""
    monkeypatch.setattr(webhook_run, "BATCH", 2)
    webhook, _ = tell(conn, start())
    for name in ("k1", "k2", "k3"):
        put(conn, name)
    lags: list[bool] = []

    def looks(batch: Batch, *, seconds: float) -> list[Outcome]:
        lags.append(read(conn, webhook).waiting_since is not None)
        return sender(batch, seconds=seconds)

    idle = iter([100.0] * 5)
    until(lambda: conn.execute(ALL_READABLE).fetchone() == (True,))
    webhook_run.run(conn, KEY, deadline=lambda: next(idle, 0.0), sender=looks, poll_seconds=0.02)

    assert lags == [False, True]
    assert read(conn, webhook).waiting_since is None


def test_a_run_without_webhooks_returns_at_once(conn: Connection) -> None:
    """It costs nothing where nobody uses it."""
    began = time.monotonic()

    webhook_run.run(conn, KEY, deadline=lambda: 100.0, sender=sender)

    assert time.monotonic() - began < 1
