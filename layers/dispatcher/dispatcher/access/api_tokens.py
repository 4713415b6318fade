"""API tokens: for scripts that act for an operator, with the operator's rights or less."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from dispatcher.access import audit_log, credentials, operators
from dispatcher.access.roles import Operator, Role
from dispatcher.errors import Conflict, NotAllowed, NotFound
from dispatcher.platform.database import Connection, fetch_all, fetch_one


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """An API token without its secret."""

    token_id: UUID
    username: str
    name: str
    role: str
    created_at: datetime
    expires_at: datetime


_COLUMNS = "token_id, username, name, role, created_at, expires_at"


def create(conn: Connection, name: str, role: Role, ttl_seconds: int, by: Operator) -> tuple[ApiToken, str]:
    """Create a token; return it with its secret, which is shown once.

    Raises NotAllowed for a role above the operator's own, and Conflict for an operator who has no account here.
    """
    if not by.role.allows(role):
        raise NotAllowed(f"Your role is {by.role}; your token can have no higher role.")
    if operators.get(conn, by.username) is None:
        raise Conflict("API tokens need a local account; you log in with OpenID Connect.")
    secret, token_hash = credentials.new_api_token()
    with conn.transaction():
        token = fetch_one(
            conn,
            ApiToken,
            f"""
            insert into api_tokens (username, name, token_hash, role, expires_at)
            values (%s, %s, %s, %s, now() + %s * interval '1 second')
            returning {_COLUMNS}
            """,
            (by.username, name, token_hash, role, ttl_seconds),
        )
        assert token is not None  # noqa: S101 - an insert without a conflict clause returns its row
        detail = {"tokenId": str(token.token_id), "name": name, "role": role}
        audit_log.record(conn, by.actor, "make token", detail=detail)
    return token, secret


def list_valid(conn: Connection, username: str) -> list[ApiToken]:
    """Read an operator's tokens that are valid, oldest first."""
    return fetch_all(
        conn,
        ApiToken,
        f"""
        select {_COLUMNS}
        from api_tokens
        where username = %s
          and revoked_at is null
          and expires_at > now()
        order by created_at
        """,
        (username,),
    )


def revoke(conn: Connection, token_id: str, by: Operator) -> None:
    """Revoke one of the operator's own tokens; raises NotFound."""
    with conn.transaction():
        revoked = conn.execute(
            """
            update api_tokens
            set revoked_at = now()
            where username = %s
              and token_id::text = %s
              and revoked_at is null
            """,
            (by.username, token_id),
        ).rowcount
        if not revoked:
            raise NotFound("You have no such token.")
        audit_log.record(conn, by.actor, "revoke token", detail={"tokenId": token_id})


def owner_of(conn: Connection, secret: str) -> tuple[str, Role] | None:
    """Return the username that a valid token belongs to, and the role it was created with."""
    row = conn.execute(
        "select username, role from api_tokens where token_hash = %s and revoked_at is null and expires_at > now()",
        (credentials.key_hash(secret),),
    ).fetchone()
    if row is None:
        return None
    username, role = row
    return username, Role(role)
