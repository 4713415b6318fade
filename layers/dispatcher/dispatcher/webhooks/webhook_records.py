"""Webhooks as operators manage them: made, listed, changed, deleted; their secrets.

A webhook has the rights of the operator who changed it last, as they are now: it tells of no agent that this operator cannot
see, and it stops when the operator is disabled or is no admin any more.  A change by an operator who sees more does not widen
it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from dispatcher.access import audit_log, operators
from dispatcher.access.credential_checks import MAKERS_STAND, require_unchanged
from dispatcher.access.roles import Operator
from dispatcher.access.scopes import Scope, as_parameter
from dispatcher.errors import Conflict, EventsGone, InvalidRequest, NotFound
from dispatcher.events import feed
from dispatcher.events.feed import Cursor
from dispatcher.platform.database import Connection, fetch_all, fetch_one
from dispatcher.webhooks.signing import secret_of

MOST = 50
"""Webhooks that a deployment has at most."""
OVERLAP_SECONDS = 86_400
"""How long the old secret signs beside a new one, unless the operator says otherwise."""

# For webhooks under the alias `t` and their operator under `o`: the labels that an agent must carry.
LIMIT = "(coalesce(o.labels, '{}') || coalesce(t.labels, '{}'))"
# Whether the rights still stand that it was changed with; with two values for one label there would be no agent.
STANDS = f"""(o.disabled_at is null
    and o.role = 'admin'
    and {LIMIT} @> coalesce(o.labels, '{{}}')
    and coalesce(t.expires_at > now(), true)
    and {MAKERS_STAND})"""

# What an operator sees: webhooks that tell of nothing beyond the operator's own label limit.
_IN_SCOPE = f"(%(scope)s::jsonb is null or {LIMIT} @> %(scope)s::jsonb)"

_COLUMNS = """t.webhook_id, t.position, t.url, t.types, t.selector, t.description, t.labels, t.created_at,
    t.username as changed_by,
    t.expires_at, t.cursor, t.secret_id, t.old_secret_id, t.old_secret_until, t.failures, t.failing_since, t.waiting_since,
    case when t.failures > 0 then t.due_at end as next_try_at, t.disabled_at, t.disabled_cause"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook without its secret."""

    webhook_id: UUID
    position: int
    url: str
    types: list[str] | None
    selector: str | None
    description: str | None
    labels: dict[str, str] | None
    created_at: datetime
    changed_by: str
    """The operator whose rights it has."""
    expires_at: datetime | None
    cursor: str
    secret_id: UUID
    old_secret_id: UUID | None
    old_secret_until: datetime | None
    failures: int
    failing_since: datetime | None
    waiting_since: datetime | None
    next_try_at: datetime | None
    disabled_at: datetime | None
    disabled_cause: str | None

    @property
    def enabled(self) -> bool:
        """Whether it is told of events."""
        return self.disabled_at is None

    @property
    def disabled_reason(self) -> str | None:
        """Why it is disabled."""
        return None if self.disabled_cause is None else _REASONS[self.disabled_cause]

    def signing_ids(self, now: datetime) -> list[UUID]:
        """Return the ids of the secrets that sign, the newest first."""
        old = self.old_secret_id if self.old_secret_until is not None and self.old_secret_until > now else None
        return [self.secret_id] if old is None else [self.secret_id, old]


_REASONS = {
    "operator": "An operator disabled it.",
    "gone": "Its receiver answered 410 Gone.",
    "failing": "Its receiver has not accepted the next event for a day.",
    "lost": "Events that it has not been told of were deleted or undone by a restore; say where it goes on (resumeFrom).",
    "invalid": "Its selector or its place in the feed cannot be read; set it anew.",
    "rights": "The rights that it was set up with have ended; an admin who enables it gives it their own.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """A webhook to make."""

    url: str
    types: Sequence[str] | None
    selector: str | None
    description: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPatch:
    """What changes about a webhook."""

    changes: Mapping[str, Any]
    """New values of `url`, `types`, `selector` and `description`; what is absent stays."""
    enabled: bool | None = None
    """None: it stays as it is."""
    resume_from: Literal["stopped", "now", "start"] | None = None
    """Where it goes on: where it stopped (also None), from now on, or at the oldest events that are kept."""


def create(conn: Connection, new: NewWebhook, key: str, by: Operator) -> tuple[Webhook, str]:
    """Make a webhook that is told of events from now on; return it with its secret, which is shown once.

    Raises Conflict for an operator without an account here, and for one webhook too many.
    """
    _require_account(conn, by)
    with conn.transaction():
        require_unchanged(conn, by)
        webhook = fetch_one(
            conn,
            Webhook,
            f"""
            insert into webhooks as t (
                url, types, selector, description, labels, cursor, username, made_with, expires_at)
            select
                %(url)s,
                %(types)s,
                %(selector)s,
                %(description)s,
                %(scope)s::jsonb,
                %(cursor)s,
                %(username)s,
                %(made_with)s,
                %(expires_at)s
            where (select count(*) from webhooks) < %(most)s
            returning {_COLUMNS}
            """,
            {
                "url": new.url,
                "types": None if new.types is None else list(new.types),
                "selector": new.selector,
                "description": new.description,
                "scope": as_parameter(by.scope),
                "cursor": str(feed.newest(conn)),
                "most": MOST,
                **_rights_of(by),
            },
        )
        if webhook is None:
            raise Conflict(f"There are {MOST} webhooks, and there can be no more; delete one.")
        _record(conn, by, "make webhook", webhook.webhook_id, url=_site_of(new.url), types=new.types)
    return webhook, secret_of(key, webhook.secret_id)


def list_page(conn: Connection, *, scope: Scope, after: int, limit: int) -> list[Webhook]:
    """Read a page of webhooks, oldest first, with a `position` above `after`."""
    return fetch_all(
        conn,
        Webhook,
        f"""
        select {_COLUMNS}
        from webhooks t
        join operators o using (username)
        where t.position > %(after)s
          and {_IN_SCOPE}
        order by t.position
        limit %(limit)s
        """,
        {"after": after, "scope": as_parameter(scope), "limit": limit},
    )


def find(conn: Connection, webhook_id: str, scope: Scope) -> Webhook:
    """Read a webhook; raises NotFound."""
    return _found(conn, webhook_id, scope, "")


def change(conn: Connection, webhook_id: str, patch: WebhookPatch, by: Operator) -> Webhook:
    """Change a webhook, enable or disable it; it has the operator's rights then, and tries again at once.

    Raises NotFound, and Conflict for an operator without an account here, or if it cannot go on where it stopped.
    """
    _require_account(conn, by)
    with conn.transaction():
        require_unchanged(conn, by)
        before = _found(conn, webhook_id, by.scope, "for update of t")
        cursor = _cursor(conn, before, patch)
        values = {
            name: patch.changes.get(name, getattr(before, name)) for name in ("url", "types", "selector", "description")
        }
        webhook = fetch_one(
            conn,
            Webhook,
            f"""
            update webhooks t
            set url = %(url)s,
                types = %(types)s,
                selector = %(selector)s,
                description = %(description)s,
                username = %(username)s,
                made_with = %(made_with)s,
                expires_at = %(expires_at)s,
                disabled_at = case
                    when %(enabled)s::boolean then null
                    when not %(enabled)s::boolean then coalesce(t.disabled_at, now())
                    else t.disabled_at end,
                disabled_cause = case
                    when %(enabled)s::boolean then null
                    when not %(enabled)s::boolean then coalesce(t.disabled_cause, 'operator')
                    else t.disabled_cause end,
                cursor = %(cursor)s,
                waiting_since = case when t.cursor = %(cursor)s then t.waiting_since end,
                due_at = now(),
                failures = 0,
                failing_since = null,
                slow = false,
                -- Whoever sends now records nothing any more.  The lease stays, so that no two senders send at a time.
                lease_token = case when t.lease_token is not null then gen_random_uuid() end
            where t.webhook_id = %(webhook_id)s
            returning {_COLUMNS}
            """,
            {
                "webhook_id": before.webhook_id,
                **values,
                "enabled": patch.enabled,
                "cursor": cursor,
                **_rights_of(by),
            },
        )
        assert webhook is not None  # noqa: S101 - the row is locked
        said: dict[str, Any] = {"url": _site_of(webhook.url)} if "url" in patch.changes else {}
        if patch.enabled is not None:
            said["enabled"] = patch.enabled
        _record(conn, by, "change webhook", before.webhook_id, changed=sorted(patch.changes), **said)
    return webhook


def renew_secret(
    conn: Connection, webhook_id: str, key: str, overlap_seconds: int, by: Operator
) -> tuple[Webhook, str]:
    """Give a webhook a new secret, which is shown once; the old one signs beside it for so long.  Raises NotFound."""
    with conn.transaction():
        require_unchanged(conn, by)
        before = _found(conn, webhook_id, by.scope, "for update of t")
        webhook = fetch_one(
            conn,
            Webhook,
            f"""
            update webhooks t
            set secret_id = gen_random_uuid(),
                old_secret_id = case when %(seconds)s > 0 then t.secret_id end,
                old_secret_until = case when %(seconds)s > 0 then now() + %(seconds)s * interval '1 second' end
            where t.webhook_id = %(webhook_id)s
            returning {_COLUMNS}
            """,
            {"webhook_id": before.webhook_id, "seconds": overlap_seconds},
        )
        assert webhook is not None  # noqa: S101 - the row is locked
        _record(conn, by, "renew webhook secret", before.webhook_id, overlapSeconds=overlap_seconds)
    return webhook, secret_of(key, webhook.secret_id)


def delete(conn: Connection, webhook_id: str, by: Operator) -> None:
    """Delete a webhook and its delivery log; raises NotFound."""
    with conn.transaction():
        webhook = _found(conn, webhook_id, by.scope, "for update of t")
        conn.execute("delete from webhooks where webhook_id = %s", (webhook.webhook_id,))
        _record(conn, by, "delete webhook", webhook.webhook_id, url=_site_of(webhook.url))


def _found(conn: Connection, webhook_id: str, scope: Scope, lock: str) -> Webhook:
    webhook = fetch_one(
        conn,
        Webhook,
        f"""
        select {_COLUMNS}
        from webhooks t
        join operators o using (username)
        where t.webhook_id::text = %(webhook_id)s
          and {_IN_SCOPE}
        {lock}
        """.encode(),
        {"webhook_id": webhook_id.lower(), "scope": as_parameter(scope)},
    )
    if webhook is None:
        raise NotFound("There is no such webhook.")
    return webhook


def _cursor(conn: Connection, webhook: Webhook, patch: WebhookPatch) -> str:
    """Return where a webhook goes on; raises Conflict if the events there are lost, because nobody may skip any in silence."""
    if patch.resume_from == "now":
        return str(feed.newest(conn))
    if patch.resume_from == "start":
        return str(feed.oldest(conn))
    if patch.enabled:
        try:
            feed.read(conn, after=Cursor.parse(webhook.cursor), limit=1)
        except (EventsGone, InvalidRequest) as error:
            raise Conflict(
                f"It cannot go on where it stopped: {error.detail}  Send `resumeFrom` too: `start` or `now`."
            ) from None
    return webhook.cursor


def _require_account(conn: Connection, by: Operator) -> None:
    """Raise Conflict for an operator whose rights cannot be read later."""
    if operators.get(conn, by.username) is None:
        raise Conflict("Webhooks need a local account, whose rights they have; you log in with OpenID Connect.")


def _rights_of(by: Operator) -> dict[str, Any]:
    return {
        "username": by.username,
        "made_with": list(by.credential.token_ids) if by.credential else [],
        "expires_at": by.credential.expires_at if by.credential else None,
    }


def _record(conn: Connection, by: Operator, action: str, webhook_id: UUID, **detail: Any) -> None:
    audit_log.record(conn, by.actor, action, detail={"webhookId": str(webhook_id), **detail})


def _site_of(url: str) -> str:
    """Return the URL without its path: many receivers have a secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
