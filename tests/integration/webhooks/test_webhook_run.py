"""Deliveries from the feed to real receivers: complete, in order, signed, and each webhook for itself."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Jsonb
from standardwebhooks import Webhook as Verifier

from dispatcher.access.roles import Operator, Role
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.lambda_api import NotInvokedError, NotReportedError
from dispatcher.webhooks import delivery_log, webhook_queue, webhook_records, webhook_run
from dispatcher.webhooks.invocation import Batch
from dispatcher.webhooks.receiver_connection import Internet
from dispatcher.webhooks.sending import Outcome, send
from dispatcher.webhooks.webhook_records import NewWebhook, Webhook, WebhookPatch
from dispatcher.webhooks.webhook_run import Ran
from tests.e2e.dispatcher_process import until
from tests.integration.webhooks.receivers import Handler, Receiver, receiver
from tests.rows import create_agent, put

KEY = "the key of all webhooks"
ADA = Operator(username="ada", role=Role.ADMIN)
_ALL_READABLE = """
    select not exists (select from command_history where position >= feed_horizon())
        and not exists (select from agent_events where position >= feed_horizon())
"""
EU, US = {"region": "eu"}, {"region": "us"}


def sender(batch: Batch, *, seconds: float) -> list[Outcome]:
    """Send as the function `webhook` does, on one machine."""
    del seconds
    return send(batch.url, batch.messages, Internet(), private=True, total_seconds=0.5)


def deliver(conn: Connection, send_batch: Callable[..., list[Outcome]] = sender) -> Ran:
    """Run until nothing is due, once every event can be read: another test of this server may still write."""
    until(lambda: conn.execute(_ALL_READABLE).fetchone() == (True,))
    idle = iter([100.0] * 3)
    return webhook_run.run(conn, KEY, deadline=lambda: next(idle, 0.0), sender=send_batch, poll_seconds=0.02)


@pytest.fixture(autouse=True)
def ada(conn: Connection) -> None:
    """An admin without a label limit, and an agent."""
    create_admin(conn, "ada")
    create_agent(conn, "a1")


@pytest.fixture
def start() -> Iterator[Callable[[], Receiver]]:
    """Start receivers, until the end of the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(receiver())


def create_admin(conn: Connection, name: str, labels: dict[str, str] | None = None) -> Operator:
    """Create an admin, or give an existing one these labels."""
    conn.execute(
        """
        insert into operators (username, password_hash, role, labels)
        values (%s, 'no password', 'admin', %s)
        on conflict (username) do update set labels = excluded.labels
        """,
        (name, None if labels is None else Jsonb(labels)),
    )
    return Operator(username=name, role=Role.ADMIN, scope=labels)


def tell(conn: Connection, to: Receiver, by: Operator = ADA, **options: Any) -> tuple[Webhook, str]:
    """Make a webhook for a receiver; return it with its secret."""
    new = {"types": None, "selector": None, "description": None, **options}
    return webhook_records.create(conn, NewWebhook(url=to.url, **new), KEY, by)


def told(to: Receiver) -> list[tuple[str, str]]:
    """Return which events a receiver got, in order: what they are about, and their type."""
    events = [json.loads(each.body)["data"] for each in to.received]
    return [(event.get("commandId") or event["agentId"], event["type"]) for event in events]


def read(conn: Connection, webhook: Webhook) -> Webhook:
    """Read a webhook anew."""
    return webhook_records.find(conn, str(webhook.webhook_id), None)


def make_due(conn: Connection) -> None:
    """End all pauses and leases."""
    conn.execute("update webhooks set due_at = now(), lease_expires_at = lease_expires_at - interval '1 hour'")


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


def test_410_disables_a_webhook_at_once(conn: Connection, start: Any) -> None:
    """The receiver wants no more; the audit log says it too."""
    to = start()
    webhook, _ = tell(conn, to)
    put(conn, "k1")
    to.answers = [410]

    deliver(conn)

    disabled = read(conn, webhook)
    assert (disabled.disabled_cause, disabled.disabled_reason) == ("gone", "Its receiver answered 410 Gone.")
    assert conn.execute("select detail ->> 'cause' from audit_log where action = 'disable webhook'").fetchone() == (
        "gone",
    )
    assert webhook_queue.figures(conn).disabled_webhooks == 1


def test_after_a_day_of_failures_a_webhook_is_disabled_and_goes_on_where_it_stopped(
    conn: Connection, start: Any
) -> None:
    """Until then the pauses grow; an operator enables it again, and nothing was lost."""
    to = start()
    webhook, _ = tell(conn, to)
    put(conn, "k1")
    to.answers = [500, 500, 500]
    deliver(conn)
    conn.execute("update webhooks set failing_since = now() - interval '23 hours 59 minutes'")
    make_due(conn)
    deliver(conn)
    assert read(conn, webhook).enabled
    conn.execute("update webhooks set failing_since = now() - interval '1 day'")
    make_due(conn)

    deliver(conn)

    assert read(conn, webhook).disabled_cause == "failing"
    put(conn, "k2")
    make_due(conn)
    assert deliver(conn) == Ran()
    webhook_records.change(conn, str(webhook.webhook_id), WebhookPatch(changes={}, enabled=True), ADA)
    deliver(conn)
    assert [name for name, _ in told(to)] == ["k1", "k1", "k1", "k1", "k2"]


def test_progress_ends_the_day_of_failures(conn: Connection, start: Any) -> None:
    """The day counts for one event: a receiver that is often down, and gets on, stays enabled."""
    to = start()
    webhook, _ = tell(conn, to)
    put(conn, "k1")
    put(conn, "k2")
    to.answers = [500]
    deliver(conn)
    conn.execute("update webhooks set failing_since = now() - interval '2 days'")
    make_due(conn)
    to.answers = [200, 500]

    deliver(conn)

    assert read(conn, webhook).enabled
    assert read(conn, webhook).failures == 1


def test_pauses_are_doubled_up_to_an_hour() -> None:
    """Jitter spreads them by a fifth."""
    assert 4 <= webhook_queue.pause_after(1) <= 6
    assert 32 <= webhook_queue.pause_after(4) <= 48
    assert 2880 <= webhook_queue.pause_after(99) <= 4320


def test_types_and_selector_choose_the_events(conn: Connection, start: Any) -> None:
    """What they do not choose is passed over."""
    to = start()
    tell(conn, to, types=["command.cancelled", "agent.created"], selector="region=eu")
    conn.execute("update agents set labels = %s", (Jsonb(EU),))
    put(conn, "k1")
    conn.execute(
        "update agent_commands set status = 'cancelled', moves = moves + 1, cause = 'x' where command_id = 'k1'"
    )
    for name, labels in (("eu-1", EU), ("us-1", US)):
        conn.execute("insert into agents (agent_id, platform, labels) values (%s, 'p', %s)", (name, Jsonb(labels)))

    deliver(conn)

    assert told(to) == [("k1", "command.cancelled"), ("eu-1", "agent.created")]


def test_a_webhook_tells_only_of_agents_that_its_operator_sees_now(conn: Connection, start: Any) -> None:
    """The limit that the operator has at the delivery, and not the one of before."""
    to = start()
    eve = create_admin(conn, "eve")
    webhook, _ = tell(conn, to, eve)
    for name, labels in (("eu-1", EU), ("us-1", US)):
        conn.execute("insert into agents (agent_id, platform, labels) values (%s, 'p', %s)", (name, Jsonb(labels)))
    to.answers = [500]
    deliver(conn)
    create_admin(conn, "eve", EU)
    put(conn, "k-eu", "eu-1")
    put(conn, "k-us", "us-1")
    make_due(conn)

    deliver(conn)

    assert told(to)[1:] == [("eu-1", "agent.created"), ("k-eu", "command.accepted")]
    assert read(conn, webhook).enabled


def test_a_webhook_of_a_limited_operator_is_never_widened_by_another_one(conn: Connection, start: Any) -> None:
    """Its receiver may be the limited operator's own."""
    to = start()
    webhook, _ = tell(conn, to, create_admin(conn, "eve", EU))

    webhook_records.change(conn, str(webhook.webhook_id), WebhookPatch(changes={"description": "ours"}), ADA)
    for name, labels in (("us-1", US), ("eu-1", EU)):
        conn.execute("insert into agents (agent_id, platform, labels) values (%s, 'p', %s)", (name, Jsonb(labels)))
    deliver(conn)

    assert told(to) == [("eu-1", "agent.created")]


@pytest.mark.parametrize(
    "change",
    [
        "update operators set disabled_at = now() where username = 'eve'",
        "update operators set role = 'sender' where username = 'eve'",
        "update operators set labels = '{\"region\": \"us\"}' where username = 'eve'",
        "update webhooks set expires_at = now()",
        "update api_tokens set revoked_at = now()",
    ],
    ids=["disabled", "no admin", "other agents", "token expired", "token revoked"],
)
def test_a_webhook_ends_with_the_rights_that_it_was_made_with(conn: Connection, start: Any, change: str) -> None:
    """Nothing is sent any more; an admin who enables it gives it their own rights."""
    to = start()
    webhook, _ = tell(conn, to, create_admin(conn, "eve", EU))
    conn.execute(
        """
        with made as (
            insert into api_tokens (username, name, token_hash, role, expires_at)
            values ('eve', 'ci', sha256('x'), 'admin', now() + interval '1 day')
            returning token_id)
        update webhooks set made_with = array(select token_id from made)
        """
    )
    conn.execute("update agents set labels = %s", (Jsonb(EU),))
    put(conn, "k1")
    conn.execute(change.encode())

    deliver(conn)

    assert to.received == []
    assert read(conn, webhook).disabled_cause == "rights"
    webhook_records.change(conn, str(webhook.webhook_id), WebhookPatch(changes={}, enabled=True), ADA)
    deliver(conn)
    assert told(to) == [("k1", "command.accepted")]


def test_both_secrets_sign_while_they_overlap(conn: Connection, start: Any) -> None:
    """A receiver changes its secret without losing a message; afterwards the old one signs nothing."""
    to = start()
    webhook, old = tell(conn, to)
    _, new = webhook_records.renew_secret(conn, str(webhook.webhook_id), KEY, 3600, ADA)
    put(conn, "k1")
    deliver(conn)
    conn.execute("update webhooks set old_secret_until = now()")
    put(conn, "k2")
    deliver(conn)

    first, second = to.received
    for secret in (old, new):
        Verifier(secret).verify(first.body, first.headers)
    assert second.headers["webhook-signature"].count("v1,") == 1
    Verifier(new).verify(second.body, second.headers)


def test_events_that_are_gone_are_not_skipped_in_silence(conn: Connection, start: Any) -> None:
    """The webhook is disabled, and an operator says where it goes on."""
    to = start()
    webhook, _ = tell(conn, to)
    put(conn, "k1")
    put(conn, "k2")
    conn.execute("delete from command_history where command_id = 'k1'")

    deliver(conn)

    assert read(conn, webhook).disabled_cause == "lost"
    with pytest.raises(Exception, match="resumeFrom"):
        webhook_records.change(conn, str(webhook.webhook_id), WebhookPatch(changes={}, enabled=True), ADA)
    again = WebhookPatch(changes={}, enabled=True, resume_from="start")
    webhook_records.change(conn, str(webhook.webhook_id), again, ADA)
    deliver(conn)
    assert [name for name, _ in told(to)] == ["k2"]


@pytest.mark.parametrize("change", ["selector = 'env in (a'", "cursor = 'nowhere'"])
def test_a_row_that_cannot_be_read_stops_no_other(conn: Connection, start: Any, change: str) -> None:
    """Somebody changed it by hand."""
    bad, _ = tell(conn, start())
    to = start()
    tell(conn, to)
    conn.execute(f"update webhooks set {change} where webhook_id = %s".encode(), (bad.webhook_id,))
    put(conn, "k1")

    deliver(conn)

    assert told(to) == [("k1", "command.accepted")]
    assert read(conn, bad).disabled_cause == "invalid"


def test_a_change_during_a_delivery_takes_the_lease_and_no_second_sender_begins(conn: Connection, start: Any) -> None:
    """What comes back is not recorded, and the lease lasts until it would have ended."""
    to = start()
    webhook, _ = tell(conn, to)
    put(conn, "k1")
    claimed = webhook_queue.claim(conn, webhook.webhook_id)
    assert claimed is not None

    webhook_records.change(
        conn, str(webhook.webhook_id), WebhookPatch(changes={}, enabled=True, resume_from="now"), ADA
    )

    assert not webhook_queue.settle(conn, claimed, webhook_queue.Result(cursor=claimed.cursor), None)
    put(conn, "k2")
    assert deliver(conn) == Ran()
    make_due(conn)
    deliver(conn)
    assert [name for name, _ in told(to)] == ["k2"]


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
    until(lambda: conn.execute(_ALL_READABLE).fetchone() == (True,))
    webhook_run.run(conn, KEY, deadline=lambda: next(idle, 0.0), sender=looks, poll_seconds=0.02)

    assert lags == [False, True]
    assert read(conn, webhook).waiting_since is None


def test_a_run_without_webhooks_returns_at_once(conn: Connection) -> None:
    """It costs nothing where nobody uses it."""
    began = time.monotonic()

    webhook_run.run(conn, KEY, deadline=lambda: 100.0, sender=sender)

    assert time.monotonic() - began < 1
