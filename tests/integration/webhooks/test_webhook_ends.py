"""When a webhook is disabled, and where it goes on."""

from typing import Any

import pytest

from dispatcher.platform.database import Connection
from dispatcher.webhooks import webhook_queue, webhook_records
from dispatcher.webhooks.webhook_records import WebhookPatch
from dispatcher.webhooks.webhook_run import Ran
from tests.integration.webhooks.deliveries import (
    ADA,
    deliver,
    make_due,
    read,
    tell,
    told,
)
from tests.rows import put

pytestmark = pytest.mark.usefixtures("ada")


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
    figures = webhook_queue.figures(conn)
    assert (figures.disabled_webhooks, figures.newly_disabled_webhooks) == (1, 1)
    conn.execute("update webhooks set disabled_at = now() - interval '2 minutes'")
    figures = webhook_queue.figures(conn)
    assert (figures.disabled_webhooks, figures.newly_disabled_webhooks) == (1, 0)


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
