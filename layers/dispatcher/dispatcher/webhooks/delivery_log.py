"""The delivery log of webhooks: each try, with its outcome; the newest ones are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from dispatcher.platform.database import Connection, fetch_all
from dispatcher.webhooks.sending import Outcome

KEPT = 500
"""Entries of each webhook."""
KEPT_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One try to deliver one message."""

    delivery_id: int
    message_id: str
    event_id: str | None
    """None: it was a test call."""
    type: str
    agent_id: str | None
    attempt: int
    at: datetime
    milliseconds: int
    status: int | None
    error: str | None

    @property
    def delivered(self) -> bool:
        """Whether the receiver accepted it."""
        return self.error is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """A try to record."""

    message_id: str
    event_id: str | None
    type: str
    agent_id: str | None
    attempt: int
    outcome: Outcome


def record(conn: Connection, webhook_id: UUID, tries: Sequence[Try]) -> None:
    """Add entries, and forget those beyond KEPT."""
    conn.execute(
        """
        insert into webhook_deliveries (
            webhook_id, message_id, event_id, type, agent_id, attempt, milliseconds, status, error)
        select %(webhook_id)s, tries.*
        from unnest(
            %(message_ids)s::text[],
            %(event_ids)s::text[],
            %(types)s::text[],
            %(agent_ids)s::text[],
            %(attempts)s::integer[],
            %(milliseconds)s::integer[],
            %(statuses)s::integer[],
            %(errors)s::text[]) as tries
        """,
        {
            "webhook_id": webhook_id,
            "message_ids": [each.message_id for each in tries],
            "event_ids": [each.event_id for each in tries],
            "types": [each.type for each in tries],
            "agent_ids": [each.agent_id for each in tries],
            "attempts": [each.attempt for each in tries],
            "milliseconds": [each.outcome.milliseconds for each in tries],
            "statuses": [each.outcome.status for each in tries],
            "errors": [each.outcome.error for each in tries],
        },
    )
    conn.execute(
        """
        delete from webhook_deliveries
        where webhook_id = %(webhook_id)s
          and delivery_id <= (
            select d.delivery_id
            from webhook_deliveries d
            where d.webhook_id = %(webhook_id)s
            order by d.delivery_id desc
            offset %(kept)s
            limit 1)
        """,
        {"webhook_id": webhook_id, "kept": KEPT},
    )


def list_page(conn: Connection, webhook_id: UUID, *, before: int | None, limit: int) -> list[Delivery]:
    """Read a page of a webhook's entries, newest first, with a `delivery_id` below `before`."""
    return fetch_all(
        conn,
        Delivery,
        """
        select delivery_id, message_id, event_id, type, agent_id, attempt, at, milliseconds, status, error
        from webhook_deliveries
        where webhook_id = %(webhook_id)s
          and (%(before)s::bigint is null or delivery_id < %(before)s)
        order by delivery_id desc
        limit %(limit)s
        """,
        {"webhook_id": webhook_id, "before": before, "limit": limit},
    )


def prune(conn: Connection, limit: int) -> int:
    """Forget entries that are older than KEPT_DAYS; return how many."""
    return conn.execute(
        """
        delete from webhook_deliveries
        where delivery_id = any(array(
            select d.delivery_id
            from webhook_deliveries d
            where d.at < now() - %(days)s * interval '1 day'
            order by d.at
            limit %(limit)s))
        """,
        {"days": KEPT_DAYS, "limit": limit},
    ).rowcount
