"""What a webhook tells, and for how long: types, selectors, label limits, rights, secrets."""

from typing import Any

import pytest
from psycopg.types.json import Jsonb
from standardwebhooks import Webhook as Verifier

from dispatcher.platform.database import Connection
from dispatcher.webhooks import webhook_records
from dispatcher.webhooks.webhook_records import WebhookPatch
from tests.integration.webhooks.deliveries import (
    ADA,
    EU,
    KEY,
    US,
    create_admin,
    deliver,
    make_due,
    read,
    tell,
    told,
)
from tests.rows import put

pytestmark = pytest.mark.usefixtures("ada")


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
