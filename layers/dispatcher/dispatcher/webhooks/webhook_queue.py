"""What webhooks have to deliver: claimed under a lease, settled afterwards.  Nothing is open while a receiver is called."""

import random
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from dispatcher.access import audit_log
from dispatcher.access.operators import SYSTEM
from dispatcher.platform.database import Connection, fetch_all, fetch_one
from dispatcher.webhooks.webhook_records import LIMIT, STANDS

LEASE_SECONDS = 60
"""Longer than the sender runs: a killed sender's messages are sent again, and no two senders send at a time."""
GIVE_UP_SECONDS = 86_400
"""How long the next event is tried before the webhook is disabled."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 3600.0
SLOW_MILLISECONDS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A webhook that may be told of events now."""

    webhook_id: UUID
    cursor: str
    slow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A webhook under a lease, with the rights that it has now."""

    webhook_id: UUID
    lease_token: UUID
    at: datetime
    url: str
    types: list[str] | None
    selector: str | None
    labels: dict[str, str] | None
    cursor: str
    failures: int
    secret_ids: list[UUID]
    """The secrets that sign, the newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a claim: how far the webhook has come, and what stopped it."""

    cursor: str
    error: str | None = None
    """Why the next event was not delivered; None: all were."""
    progress: bool = False
    """Whether at least one event was delivered."""
    gone: bool = False
    """Whether the receiver wants no more (410)."""
    pause: float = 0.0
    """Seconds until the next try."""
    slow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures of all webhooks.  The names are those of the metrics: never change one."""

    disabled_webhooks: int = 0
    """Those that the service has disabled."""
    newly_disabled_webhooks: int = 0
    """Those that it has disabled within two minutes: an alarm on this rings again for the next one."""
    newly_late_webhooks: int = 0
    """Those whose oldest event has waited for 15 to 18 minutes."""
    webhook_lag_seconds: float = 0.0
    """How long the oldest event has waited."""


def candidates(conn: Connection) -> list[Candidate]:
    """Read the webhooks that are enabled, due and not under a lease, the ones that have waited longest first."""
    return fetch_all(
        conn,
        Candidate,
        f"""
        select t.webhook_id, t.cursor, t.slow
        from webhooks t
        join operators o using (username)
        where {_FREE}
          and {STANDS}
        order by t.due_at
        """,
    )


def claim(conn: Connection, webhook_id: UUID) -> Claim | None:
    """Take the lease of a webhook; None if it is not free any more, or its rights have ended."""
    return fetch_one(
        conn,
        Claim,
        f"""
        update webhooks t
        set lease_token = gen_random_uuid(),
            lease_expires_at = now() + %(seconds)s * interval '1 second'
        from operators o
        where o.username = t.username
          and t.webhook_id = %(webhook_id)s
          and {_FREE}
          and {STANDS}
        returning
            t.webhook_id,
            t.lease_token,
            clock_timestamp() as at,
            t.url,
            t.types,
            t.selector,
            nullif({LIMIT}, '{{}}') as labels,
            t.cursor,
            t.failures,
            array_remove(array[t.secret_id, case when t.old_secret_until > now() then t.old_secret_id end], null)
                as secret_ids
        """,
        {"webhook_id": webhook_id, "seconds": LEASE_SECONDS},
    )


_FREE = """t.disabled_at is null
    and t.due_at <= now()
    and coalesce(t.lease_expires_at <= now(), true)"""

_GIVEN_UP = """(%(error)s::text is not null
    and not %(progress)s
    and t.failing_since <= now() - %(give_up)s * interval '1 second')"""


def settle(conn: Connection, claimed: Claim, result: Result, waiting_since: datetime | None) -> bool:
    """Record a result and give the lease back; False if the lease was lost, and then nothing changes."""
    row = conn.execute(
        f"""
        update webhooks t
        set cursor = %(cursor)s,
            waiting_since = %(waiting_since)s,
            due_at = clock_timestamp() + %(pause)s * interval '1 second',
            failures = case
                when %(error)s::text is null then 0
                when %(progress)s then 1
                else t.failures + 1 end,
            failing_since = case
                when %(error)s::text is null then null
                when %(progress)s then now()
                else coalesce(t.failing_since, now()) end,
            slow = %(slow)s,
            disabled_cause = case
                when %(gone)s then 'gone'
                when {_GIVEN_UP} then 'failing' end,
            disabled_at = case when %(gone)s or {_GIVEN_UP} then now() end,
            lease_token = null,
            lease_expires_at = null
        where t.webhook_id = %(webhook_id)s
          and t.lease_token = %(lease_token)s
          and t.disabled_at is null
        returning t.disabled_cause
        """,
        {
            "cursor": result.cursor,
            "waiting_since": waiting_since,
            "pause": result.pause,
            "error": result.error,
            "progress": result.progress,
            "slow": result.slow,
            "gone": result.gone,
            "give_up": GIVE_UP_SECONDS,
            "webhook_id": claimed.webhook_id,
            "lease_token": claimed.lease_token,
        },
    ).fetchone()
    if row is not None and row[0] is not None:
        _record(conn, claimed.webhook_id, row[0])
    return row is not None


def postpone(conn: Connection, claimed: Claim, seconds: float) -> None:
    """Give the lease back without a result: nothing was sent, for a reason that is not the receiver's."""
    conn.execute(
        """
        update webhooks
        set due_at = clock_timestamp() + %(seconds)s * interval '1 second',
            lease_token = null,
            lease_expires_at = null
        where webhook_id = %(webhook_id)s
          and lease_token = %(lease_token)s
        """,
        {"webhook_id": claimed.webhook_id, "lease_token": claimed.lease_token, "seconds": seconds},
    )


def disable(conn: Connection, claimed: Claim, cause: str) -> None:
    """Disable a webhook whose next events cannot be read: nobody may skip events in silence."""
    with conn.transaction():
        changed = conn.execute(
            """
            update webhooks
            set disabled_at = now(),
                disabled_cause = %(cause)s,
                lease_token = null,
                lease_expires_at = null
            where webhook_id = %(webhook_id)s
              and lease_token = %(lease_token)s
              and disabled_at is null
            """,
            {"cause": cause, "webhook_id": claimed.webhook_id, "lease_token": claimed.lease_token},
        ).rowcount
        if changed:
            _record(conn, claimed.webhook_id, cause)


def disable_without_rights(conn: Connection) -> int:
    """Disable the webhooks whose rights have ended; return how many."""
    with conn.transaction():
        rows = conn.execute(
            f"""
            update webhooks t
            set disabled_at = now(),
                disabled_cause = 'rights'
            from operators o
            where o.username = t.username
              and t.disabled_at is null
              and not {STANDS}
            returning t.webhook_id
            """
        ).fetchall()
        for (webhook_id,) in rows:
            _record(conn, webhook_id, "rights")
    return len(rows)


def pause_after(failures: int) -> float:
    """Return the seconds until the next try, after so many failures: doubled each time, up to an hour, with jitter."""
    pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 20), LONGEST_PAUSE_SECONDS)
    return pause * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing


def figures(conn: Connection) -> Figures:
    """Read the figures of all webhooks."""
    found = fetch_one(
        conn,
        Figures,
        """
        select
            count(*) filter (where disabled_cause <> 'operator') as disabled_webhooks,
            count(*) filter (where disabled_cause <> 'operator' and disabled_at > now() - interval '2 minutes')
                as newly_disabled_webhooks,
            count(*) filter (where disabled_at is null
                and waiting_since between now() - interval '18 minutes' and now() - interval '15 minutes')
                as newly_late_webhooks,
            coalesce(extract(epoch from max(now() - waiting_since) filter (where disabled_at is null)), 0)::float8
                as webhook_lag_seconds
        from webhooks
        """,
    )
    return found or Figures()


def is_any(conn: Connection) -> bool:
    """Tell whether there is a webhook, enabled or not."""
    return conn.execute("select from webhooks limit 1").fetchone() is not None


def is_any_enabled(conn: Connection) -> bool:
    """Tell whether there is a webhook to look after."""
    return conn.execute("select from webhooks where disabled_at is null limit 1").fetchone() is not None


def _record(conn: Connection, webhook_id: UUID, cause: str) -> None:
    audit_log.record(conn, SYSTEM, "disable webhook", detail={"webhookId": str(webhook_id), "cause": cause})
