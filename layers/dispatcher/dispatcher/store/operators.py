"""Operators, their tokens for scripts, and their failures to log in."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import kwargs_row
from psycopg.types.json import Jsonb

from dispatcher.platform.database import Connection
from dispatcher.store.scopes import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An operator as stored: the password only as its hash."""

    username: str
    password_hash: str
    role: str
    labels: dict[str, str] | None
    created_at: datetime
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A token for scripts, without itself."""

    token_id: UUID
    username: str
    name: str
    role: str
    created_at: datetime
    expires_at: datetime


_COLUMNS = "username, password_hash, role, labels, created_at, disabled_at"
_OF_TOKEN = "token_id, username, name, role, created_at, expires_at"  # noqa: S105 - names of columns


def get(conn: Connection, username: str) -> Account | None:
    """Read an operator."""
    with conn.cursor(row_factory=kwargs_row(Account)) as cursor:
        return cursor.execute(f"select {_COLUMNS} from operators where username = %s", (username,)).fetchone()


def list_all(conn: Connection) -> list[Account]:
    """Read all operators, in the order of their names."""
    with conn.cursor(row_factory=kwargs_row(Account)) as cursor:
        return cursor.execute(f"select {_COLUMNS} from operators order by username").fetchall()


def put(conn: Connection, username: str, password_hash: str, role: str, labels: Scope) -> None:
    """Make an operator, or give an existing one this password, role and limit."""
    conn.execute(
        """insert into operators (username, password_hash, role, labels) values (%s, %s, %s, %s)
           on conflict (username) do update set password_hash = excluded.password_hash, role = excluded.role,
               labels = excluded.labels, disabled_at = null""",
        (username, password_hash, role, None if labels is None else Jsonb(dict(labels))),
    )


def disable(conn: Connection, username: str) -> bool:
    """Disable an operator, and revoke his tokens for scripts; False where there is none of that name."""
    with conn.transaction():
        row = conn.execute(
            "update operators set disabled_at = coalesce(disabled_at, now()) where username = %s returning username",
            (username,),
        ).fetchone()
        conn.execute("update api_tokens set revoked_at = now() where username = %s and revoked_at is null", (username,))
    return row is not None


def add_token(
    conn: Connection, *, username: str, name: str, token_hash: bytes, role: str, ttl_seconds: int
) -> ApiToken:
    """Store the hash of a token for scripts."""
    with conn.cursor(row_factory=kwargs_row(ApiToken)) as cursor:
        token = cursor.execute(
            f"""insert into api_tokens (username, name, token_hash, role, expires_at)
                values (%s, %s, %s, %s, now() + %s * interval '1 second') returning {_OF_TOKEN}""",
            (username, name, token_hash, role, ttl_seconds),
        ).fetchone()
    assert token is not None  # noqa: S101 - an insert without a conflict clause returns its row
    return token


def tokens(conn: Connection, username: str) -> list[ApiToken]:
    """List an operator's tokens that are valid."""
    with conn.cursor(row_factory=kwargs_row(ApiToken)) as cursor:
        return cursor.execute(
            f"""select {_OF_TOKEN} from api_tokens
                where username = %s and revoked_at is null and expires_at > now() order by created_at""",
            (username,),
        ).fetchall()


def revoke_token(conn: Connection, username: str, token_id: str) -> bool:
    """Revoke one of an operator's tokens; False where there is no such valid one."""
    row = conn.execute(
        """update api_tokens set revoked_at = now()
           where username = %s and token_id::text = %s and revoked_at is null returning token_id""",
        (username, token_id),
    ).fetchone()
    return row is not None


def by_token(conn: Connection, token_hash: bytes) -> tuple[str, str] | None:
    """Tell whose token for scripts this is, and the role that it was made with."""
    row = conn.execute(
        "select username, role from api_tokens where token_hash = %s and revoked_at is null and expires_at > now()",
        (token_hash,),
    ).fetchone()
    return (row[0], row[1]) if row else None


def seconds_locked(conn: Connection, username: str, source_ip: str, free: int) -> float:
    """Tell how long a name has to wait at an address: 2 s doubled with each failure after `free`, 15 minutes at most."""
    row = conn.execute(
        """select greatest(0, extract(epoch from last_at - now())
               + least(2.0 ^ least(failures - %s, 16), 900))::float8
           from login_failures where username = %s and source_ip = %s and failures >= %s""",
        (free - 1, username, source_ip, free),
    ).fetchone()
    return row[0] if row else 0.0


def note_failure(conn: Connection, username: str, source_ip: str) -> None:
    """Count a failure to log in; a day without one forgets those before."""
    conn.execute(
        """insert into login_failures as f (username, source_ip, failures, last_at) values (%s, %s, 1, now())
           on conflict (username, source_ip) do update set last_at = now(),
               failures = case when f.last_at < now() - interval '1 day' then 1 else f.failures + 1 end""",
        (username, source_ip),
    )


def prune_failures(conn: Connection, limit: int) -> int:
    """Forget failures of more than a day ago, which count no more."""
    return conn.execute(
        """delete from login_failures where (username, source_ip) in (
               select username, source_ip from login_failures where last_at < now() - interval '1 day'
               order by last_at limit %s for update skip locked)""",
        (limit,),
    ).rowcount


def forget_failures(conn: Connection, username: str, source_ip: str) -> None:
    """Forget the failures of a name at an address."""
    conn.execute("delete from login_failures where username = %s and source_ip = %s", (username, source_ip))
