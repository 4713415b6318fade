"""Operators: created, limited by labels, disabled."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from dispatcher.access import audit_log, credentials
from dispatcher.access.roles import Operator, Role
from dispatcher.access.scopes import Scope
from dispatcher.errors import Conflict, NotFound
from dispatcher.platform.database import Connection, fetch_all, fetch_one

FIRST_ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An operator as stored; the password only as its hash."""

    username: str
    password_hash: str
    role: str
    labels: dict[str, str] | None
    created_at: datetime
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOperator:
    """An operator to create or to change."""

    username: str
    password: str
    role: Role
    scope: Scope


_COLUMNS = "username, password_hash, role, labels, created_at, disabled_at"


def get(conn: Connection, username: str) -> Account | None:
    """Read one operator."""
    return fetch_one(conn, Account, f"select {_COLUMNS} from operators where username = %s", (username,))


def list_all(conn: Connection) -> list[Account]:
    """Read all operators, ordered by name."""
    return fetch_all(conn, Account, f"select {_COLUMNS} from operators order by username")


def put(conn: Connection, new: NewOperator, by: Operator) -> Account:
    """Create an operator, or give an existing one this password, role and label limit."""
    labels = None if new.scope is None else dict(new.scope)
    with conn.transaction():
        account = set_password(conn, new.username, new.password, new.role, new.scope)
        detail = {"operator": new.username, "role": new.role, "labels": labels}
        audit_log.record(conn, by.actor, "put operator", detail=detail)
    return account


def disable(conn: Connection, username: str, by: Operator) -> None:
    """Disable an operator and revoke their API tokens.

    Raises NotFound, and Conflict for an operator who would disable themselves.
    """
    if username == by.username:
        raise Conflict("You cannot disable yourself.")
    with conn.transaction():
        disabled = conn.execute(
            "update operators set disabled_at = coalesce(disabled_at, now()) where username = %s", (username,)
        ).rowcount
        if not disabled:
            raise NotFound(f"There is no operator {username!r}.")
        conn.execute("update api_tokens set revoked_at = now() where username = %s and revoked_at is null", (username,))
        audit_log.record(conn, by.actor, "disable operator", detail={"operator": username})


def ensure_admin(conn: Connection, password: str) -> bool:
    """Give the user `admin` this password; False if they have it already."""
    account = get(conn, FIRST_ADMIN)
    if account and not account.disabled_at and credentials.password_matches(account.password_hash, password):
        return False
    set_password(conn, FIRST_ADMIN, password, Role.ADMIN)
    return True


def set_password(conn: Connection, username: str, password: str, role: Role, scope: Scope = None) -> Account:
    """Create an operator, or give an existing one this password, role and label limit, without an audit entry."""
    account = fetch_one(
        conn,
        Account,
        f"""
        insert into operators (username, password_hash, role, labels)
        values (%s, %s, %s, %s)
        on conflict (username) do update
        set password_hash = excluded.password_hash,
            role = excluded.role,
            labels = excluded.labels,
            disabled_at = null
        returning {_COLUMNS}
        """,
        (username, credentials.password_hash(password), role, None if scope is None else Jsonb(dict(scope))),
    )
    assert account is not None  # noqa: S101 - an upsert returns its row
    return account
