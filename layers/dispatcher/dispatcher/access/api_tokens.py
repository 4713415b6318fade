"""API tokens: for scripts that act for an operator, with the operator's rights or less."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from dispatcher.access import audit_log, credentials, operators
from dispatcher.access.credential_checks import MAKERS_STAND, require_unchanged
from dispatcher.access.roles import Operator, Role
from dispatcher.errors import Conflict, NotAllowed, NotFound
from dispatcher.platform.database import Connection, fetch_all, fetch_one


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """An API token without its secret."""

    token_id: UUID
    position: int
    username: str
    name: str
    role: str
    created_at: datetime
    expires_at: datetime


_COLUMNS = "t.token_id, t.position, t.username, t.name, t.role, t.created_at, t.expires_at"


def create(conn: Connection, name: str, role: Role, ttl_seconds: int, by: Operator) -> tuple[ApiToken, str]:
    """Create a token; return it with its secret, which is shown once.

    A token that is made with another API token ends with it at the latest, and is revoked with it.  Raises NotAllowed for a
    role above the caller's, and Conflict for an operator who has no account here.
    """
    if not by.role.allows(role):
        raise NotAllowed(f"Your role is {by.role}; your token can have no higher role.")
    if operators.get(conn, by.username) is None:
        raise Conflict("API tokens need a local account; you log in with OpenID Connect.")
    secret, token_hash = credentials.new_api_token()
    with conn.transaction():
        require_unchanged(conn, by)
        token = fetch_one(
            conn,
            ApiToken,
            f"""
            insert into api_tokens as t (username, name, token_hash, role, made_with, created_at, expires_at)
            values (
                %s,
                %s,
                %s,
                %s,
                %s,
                clock_timestamp(),
                least(clock_timestamp() + %s * interval '1 second', %s::timestamptz))
            returning {_COLUMNS}
            """,
            (
                by.username,
                name,
                token_hash,
                role,
                list(by.credential.token_ids) if by.credential else [],
                ttl_seconds,
                by.credential.expires_at if by.credential else None,
            ),
        )
        assert token is not None  # noqa: S101 - an insert without a conflict clause returns its row
        detail = {"tokenId": str(token.token_id), "name": name, "role": role}
        audit_log.record(conn, by.actor, "make token", detail=detail)
    return token, secret


def list_valid(conn: Connection, username: str, *, after: int, limit: int) -> list[ApiToken]:
    """Read a page of an operator's valid tokens, oldest first, with a `position` above `after`."""
    return fetch_all(
        conn,
        ApiToken,
        f"""
        select {_COLUMNS}
        from api_tokens t
        join operators o using (username)
        where t.username = %s
          and t.position > %s
          and t.revoked_at is null
          and t.expires_at > now()
          and t.created_at >= o.valid_after
          and {MAKERS_STAND}
        order by t.position
        limit %s
        """,
        (username, after, limit),
    )


def revoke(conn: Connection, token_id: str, by: Operator) -> None:
    """Revoke one of the operator's own tokens, and so the tokens that were made with it.

    With an API token the operator can revoke that token and the ones that were made with it.  Raises NotFound for a token
    of somebody else, and NotAllowed for one that the API token did not make.
    """
    with conn.transaction():
        row = conn.execute(
            """
            select made_with || token_id
            from api_tokens
            where username = %s
              and token_id::text = %s
              and revoked_at is null
            for update
            """,
            (by.username, token_id.lower()),
        ).fetchone()
        if row is None:
            raise NotFound("You have no such token.")
        if by.token_id is not None and by.token_id not in row[0]:
            raise NotAllowed("An API token revokes itself and the tokens made with it; log in to revoke others.")
        conn.execute("update api_tokens set revoked_at = now() where token_id::text = %s", (token_id.lower(),))
        audit_log.record(conn, by.actor, "revoke token", detail={"tokenId": token_id.lower()})
