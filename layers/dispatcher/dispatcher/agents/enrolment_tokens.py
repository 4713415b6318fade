"""Enrolment tokens: an agent that has one creates itself and gets its key.

A token is valid only while the operator who made it keeps the rights of that time, and while the API token that it was made
with stands.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from dispatcher.access import audit_log
from dispatcher.access.credential_checks import MAKERS_STAND, require_unchanged
from dispatcher.access.credentials import key_hash, new_key
from dispatcher.access.roles import Operator
from dispatcher.access.scopes import Scope, as_parameter
from dispatcher.agents.agent_ids import require_nameable
from dispatcher.errors import NotAllowed, NotFound, Unprocessable
from dispatcher.platform.database import Connection, fetch_all, fetch_one


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEnrolmentToken:
    """A token to create: for one agent id, or for all ids with a prefix."""

    agent_id: str | None
    prefix: str | None
    labels: dict[str, str]
    approved: bool
    uses: int
    ttl_seconds: int
    reusable: bool = False
    """Whether the agent that used the token may use it again, for the same key, until the token expires."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentToken:
    """An enrolment token without its secret."""

    token_id: UUID
    position: int
    agent_id: str | None
    prefix: str | None
    labels: dict[str, str]
    approved: bool
    reusable: bool
    uses_left: int
    created_by: str
    created_at: datetime
    expires_at: datetime


COLUMNS = """t.token_id, t.position, t.agent_id, t.prefix, t.labels, t.approved, t.reusable, t.uses_left, t.created_by,
    t.created_at, t.expires_at"""

# For tokens under the alias `t`.  An operator of an OpenID Connect issuer has no account: the token ends with theirs.
STANDS = f"""t.revoked_at is null
    and {MAKERS_STAND}
    and (starts_with(t.created_by, 'oidc:') or exists (
        select from operators o
        where o.username = t.created_by
          and o.disabled_at is null
          and o.role = 'admin'
          and o.valid_after <= t.created_at
          and (o.labels is null or t.labels @> o.labels)))"""

_IN_SCOPE = "(%(scope)s::jsonb is null or t.labels @> %(scope)s::jsonb)"


def create(conn: Connection, new: NewEnrolmentToken, by: Operator) -> tuple[EnrolmentToken, str]:
    """Create an enrolment token; return it with its secret, which is shown once.

    Raises NotAllowed if the operator could not see the agents that enrol with it, and Unprocessable for an id that no agent
    may have, or for a reusable token with several uses: whoever has it could become each of its agents.
    """
    require_own_labels(new.labels, by)
    if new.agent_id is not None:
        require_nameable(new.agent_id)
    if new.reusable and new.uses != 1:
        raise Unprocessable(
            "reusable: A reusable token has one use: it belongs to the agent that uses it first.",
            errors=[{"at": "reusable", "is": "A reusable token has one use"}],
        )
    secret, token_hash = new_key()
    with conn.transaction():
        require_unchanged(conn, by)
        token = fetch_one(
            conn,
            EnrolmentToken,
            f"""
            insert into enrolment_tokens as t (
                token_hash,
                agent_id,
                prefix,
                labels,
                approved,
                reusable,
                uses_left,
                created_by,
                made_with,
                created_at,
                expires_at)
            values (
                %(token_hash)s,
                %(agent_id)s,
                %(prefix)s,
                %(labels)s,
                %(approved)s,
                %(reusable)s,
                %(uses)s,
                %(created_by)s,
                %(made_with)s,
                clock_timestamp(),
                least(clock_timestamp() + %(ttl_seconds)s * interval '1 second', %(latest)s::timestamptz))
            returning {COLUMNS}
            """,
            {
                "token_hash": token_hash,
                "agent_id": new.agent_id,
                "prefix": new.prefix,
                "labels": Jsonb(new.labels),
                "approved": new.approved,
                "reusable": new.reusable,
                "uses": new.uses,
                "created_by": by.username,
                "made_with": list(by.credential.token_ids) if by.credential else [],
                "ttl_seconds": new.ttl_seconds,
                "latest": by.credential.expires_at if by.credential else None,
            },
        )
        assert token is not None  # noqa: S101 - an insert without a conflict clause returns its row
        detail: dict[str, Any] = {
            "tokenId": str(token.token_id),
            "for": new.agent_id or f"{new.prefix}…",
            "uses": new.uses,
            "approved": new.approved,
            "reusable": new.reusable,
        }
        audit_log.record(conn, by.actor, "make enrolment token", agent_id=new.agent_id, detail=detail)
    return token, secret


def list_page(conn: Connection, *, scope: Scope, after: int, limit: int) -> list[EnrolmentToken]:
    """Read a page of valid tokens for agents in scope, oldest first, with a `position` above `after`."""
    return fetch_all(
        conn,
        EnrolmentToken,
        f"""
        select {COLUMNS}
        from enrolment_tokens t
        where t.position > %(after)s
          and t.expires_at > now()
          and {_IN_SCOPE}
          and {STANDS}
        order by t.position
        limit %(limit)s
        """,
        {"after": after, "scope": as_parameter(scope), "limit": limit},
    )


def find(conn: Connection, token_id: str, scope: Scope) -> EnrolmentToken:
    """Read a valid token; raises NotFound."""
    token = fetch_one(
        conn,
        EnrolmentToken,
        f"""
        select {COLUMNS}
        from enrolment_tokens t
        where t.token_id::text = %(token_id)s
          and t.expires_at > now()
          and {_IN_SCOPE}
          and {STANDS}
        """,
        {"token_id": token_id.lower(), "scope": as_parameter(scope)},
    )
    if token is None:
        raise NotFound("There is no such enrolment token.")
    return token


def revoke(conn: Connection, token_id: str, by: Operator) -> None:
    """Revoke a token; agents that have enrolled with it keep their keys.  Raises NotFound."""
    with conn.transaction():
        row = conn.execute(
            f"""
            update enrolment_tokens t
            set revoked_at = now()
            where t.token_id::text = %(token_id)s
              and t.revoked_at is null
              and {_IN_SCOPE}
            returning t.agent_id
            """,
            {"token_id": token_id.lower(), "scope": as_parameter(by.scope)},
        ).fetchone()
        if row is None:
            raise NotFound("There is no such enrolment token.")
        detail = {"tokenId": token_id.lower()}
        audit_log.record(conn, by.actor, "revoke enrolment token", agent_id=row[0], detail=detail)


def lock(conn: Connection, secret: str, agent_id: str) -> EnrolmentToken | None:
    """Lock the token with this secret, expired or not; None if it does not stand or is not for this agent id.

    Two requests with one token wait for each other, so that the second finds what the first has made.
    """
    return fetch_one(
        conn,
        EnrolmentToken,
        f"""
        select {COLUMNS}
        from enrolment_tokens t
        where t.token_hash = %(token_hash)s
          and (t.agent_id = %(agent_id)s or starts_with(%(agent_id)s, t.prefix))
          and {STANDS}
        for no key update of t
        """,
        {"token_hash": key_hash(secret), "agent_id": agent_id},
    )


def use(conn: Connection, token_id: UUID) -> bool:
    """Use a token once; False if it is used up or has expired."""
    return bool(
        conn.execute(
            """
            update enrolment_tokens
            set uses_left = uses_left - 1
            where token_id = %s
              and uses_left > 0
              and expires_at > now()
            """,
            (token_id,),
        ).rowcount
    )


def require_own_labels(labels: dict[str, str], by: Operator) -> None:
    """Raise NotAllowed if the operator could not see an agent with these labels."""
    missing = {name: value for name, value in (by.scope or {}).items() if labels.get(name) != value}
    if missing:
        names = ", ".join(f"{name}={value}" for name, value in missing.items())
        raise NotAllowed(f"The agent must carry your labels; missing: {names}.", missingLabels=missing)
