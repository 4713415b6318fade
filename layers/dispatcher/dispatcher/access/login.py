"""Log-ins: a password is exchanged for a signed token; failures lock a name at an address for a while."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import jwt

from dispatcher.access import credentials, operators
from dispatcher.errors import NotAuthenticated, TooManyAttempts
from dispatcher.platform import settings
from dispatcher.platform.database import Connection
from dispatcher.platform.observability import logger

TOKEN_SECONDS = 3600
ISSUER = "agent-command-dispatcher"
ALGORITHM = "HS256"
FREE_ATTEMPTS = 5
"""Failed log-ins of one name from one address before the name has to wait there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A signed token and when it expires."""

    token: str
    expires_at: datetime


def log_in(conn: Connection, username: str, password: str, source_ip: str) -> Token:
    """Exchange a password for a token.

    Raises the same NotAuthenticated for a wrong name and a wrong password, and TooManyAttempts after FREE_ATTEMPTS failures.
    """
    if (seconds := _seconds_locked(conn, username, source_ip)) > 0:
        raise TooManyAttempts("Too many failed attempts; wait before the next.", retry_after=seconds)
    account = operators.get(conn, username)
    matches = credentials.password_matches(account.password_hash if account else None, password)
    if account is None or not matches or account.disabled_at:
        _record_failure(conn, username, source_ip)
        logger.warning("Log-in refused", extra={"operator": username[:128], "source_ip": source_ip})
        raise NotAuthenticated("The username or the password is wrong.")
    conn.execute("delete from login_failures where username = %s and source_ip = %s", (username, source_ip))
    issued = int(time.time())
    expires = issued + TOKEN_SECONDS
    claims = {"iss": ISSUER, "sub": username, "iat": issued, "exp": expires}
    return Token(
        token=jwt.encode(claims, settings.token_secret(), algorithm=ALGORITHM),
        expires_at=datetime.fromtimestamp(expires, UTC),
    )


def username_of(token: str) -> str:
    """Verify a token that `log_in` gave and return its username; raises NotAuthenticated."""
    try:
        claims = jwt.decode(
            token,
            settings.token_secret(),
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            options={"require": ["exp", "iat", "sub", "iss"]},
        )
    except jwt.ExpiredSignatureError:
        raise NotAuthenticated("The token has expired; log in again.") from None
    except jwt.InvalidTokenError:
        raise NotAuthenticated("The token is not valid.") from None
    username: str = claims["sub"]
    return username


def prune_failures(conn: Connection, limit: int) -> int:
    """Delete failures that are older than a day and no longer count; return how many."""
    return conn.execute(
        """
        delete from login_failures
        where (username, source_ip) in (
            select username, source_ip
            from login_failures
            where last_at < now() - interval '1 day'
            order by last_at
            limit %s
            for update skip locked)
        """,
        (limit,),
    ).rowcount


def _seconds_locked(conn: Connection, username: str, source_ip: str) -> float:
    """Tell how long a name must wait at an address: 2 s, doubled with each further failure, 15 minutes at most."""
    row = conn.execute(
        """
        select greatest(0, extract(epoch from last_at - now()) + least(2.0 ^ least(failures - %s, 16), 900))::float8
        from login_failures
        where username = %s
          and source_ip = %s
          and failures >= %s
        """,
        (FREE_ATTEMPTS - 1, username, source_ip, FREE_ATTEMPTS),
    ).fetchone()
    return row[0] if row else 0.0


def _record_failure(conn: Connection, username: str, source_ip: str) -> None:
    """Count a failure; after a day without one the count starts again."""
    conn.execute(
        """
        insert into login_failures as f (username, source_ip, failures, last_at)
        values (%s, %s, 1, now())
        on conflict (username, source_ip) do update
        set last_at = now(),
            failures = case when f.last_at < now() - interval '1 day' then 1 else f.failures + 1 end
        """,
        (username, source_ip),
    )
