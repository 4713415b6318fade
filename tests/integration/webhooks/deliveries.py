"""Deliveries of webhooks, from the feed of a test's database to receivers on this machine."""

import json
from collections.abc import Callable
from typing import Any

from psycopg.types.json import Jsonb

from dispatcher.access.roles import Operator, Role
from dispatcher.platform.database import Connection
from dispatcher.webhooks import webhook_records, webhook_run
from dispatcher.webhooks.invocation import Batch
from dispatcher.webhooks.receiver_connection import Internet
from dispatcher.webhooks.sending import Outcome, send
from dispatcher.webhooks.webhook_records import NewWebhook, Webhook
from dispatcher.webhooks.webhook_run import Ran
from tests.e2e.dispatcher_process import until
from tests.integration.webhooks.receivers import Receiver

KEY = "the key of all webhooks"
ADA = Operator(username="ada", role=Role.ADMIN)
ALL_READABLE = """
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
    until(lambda: conn.execute(ALL_READABLE).fetchone() == (True,))
    idle = iter([100.0] * 3)
    return webhook_run.run(conn, KEY, deadline=lambda: next(idle, 0.0), sender=send_batch, poll_seconds=0.02)


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
