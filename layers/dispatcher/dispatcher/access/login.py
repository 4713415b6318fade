"""Log-ins: a password is exchanged for a signed token."""

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import jwt

from dispatcher.access import audit_log, credentials, login_budgets, operators
from dispatcher.access.audit_log import Actor
from dispatcher.access.operators import Account
from dispatcher.access.roles import Operator
from dispatcher.errors import NotAllowed, NotAuthenticated
from dispatcher.platform import settings
from dispatcher.platform.database import Connection
from dispatcher.platform.hot_statements import HotStatement
from dispatcher.platform.observability import logger

TOKEN_SECONDS = 3600
SESSION_SECONDS = 8 * 3600
"""How long a browser stays logged in: a shift.  Unlike a token, its session cannot be copied by a script."""
ISSUER = "agent-command-dispatcher"
ALGORITHM = "HS256"
LAST_SECOND = 32_503_680_000
"""The year 3000: a later time in a token is not valid."""
_LOGGED_CHARACTERS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A signed token and when it expires."""

    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a signed token says: whose it is, and when it was issued and expires, in seconds since 1970."""

    username: str
    issued_at: float
    expires_at: float


def log_in(conn: Connection, username: str, password: str, source_ip: str, *, seconds: int = TOKEN_SECONDS) -> Token:
    """Exchange a password for a token that is valid for so many seconds.

    Raises the same NotAuthenticated for a wrong name and a wrong password, and TooManyAttempts if a budget is used up.
    """
    subjects = login_budgets.subjects_of(username, source_ip)
    with conn.transaction():
        reserved = login_budgets.reserve(conn, subjects)
        account = operators.find_for_login(conn, username)
        matches = credentials.password_matches(account.password_hash if account else None, password)
        issued = _issue_moment(conn, account) if matches else None
        if account is not None and issued is not None:
            login_budgets.record_success(conn, reserved)
            audit_log.record(conn, Actor(name=account.username, source_ip=source_ip), "log in")
            return _token(account.username, issued, seconds)
        login_budgets.record_failure(conn, reserved)
        _record_refusal(conn, account.username if account else "", source_ip)
    logger.warning("Log-in refused", extra={"operator": username[:_LOGGED_CHARACTERS], "source_ip": source_ip})
    raise NotAuthenticated("The username or the password is wrong.")


def log_out(conn: Connection, token: str, by: Operator) -> None:
    """End the log-in that gave this token, here or at an OpenID Connect issuer: it is refused here from the commit on.

    Raises NotAllowed for an API token.
    """
    if by.token_id is not None:
        raise NotAllowed("Only a log-in ends here; DELETE /api/v1/tokens/{id} revokes an API token.")
    credential = by.credential
    if credential is not None and credential.expires_at is not None:
        expires_at = credential.expires_at.timestamp()
        claims = Claims(username=by.username, issued_at=credential.issued_at, expires_at=expires_at)
    else:
        claims = claims_of(token)
    with conn.transaction():
        conn.execute("delete from ended_log_ins where expires_at < now()")
        conn.execute(
            """
            insert into ended_log_ins (username, issued_at, expires_at)
            values (%s, %s, to_timestamp(%s))
            on conflict do nothing
            """,
            (claims.username, claims.issued_at, claims.expires_at),
        )
        audit_log.record(conn, by.actor, "log out")


_HAS_ENDED = HotStatement(b"select 1 from ended_log_ins where username = %(username)s and issued_at = %(issued_at)s")


def has_ended(conn: Connection, operator: Operator) -> bool:
    """Tell whether an operator of an OpenID Connect issuer has logged out here."""
    issued_at = operator.credential.issued_at if operator.credential else 0
    return bool(_HAS_ENDED.fetch(conn, {"username": operator.username, "issued_at": issued_at}))


def claims_of(token: str) -> Claims:
    """Verify a token that `log_in` gave; raises NotAuthenticated."""
    claims = _verified(token, settings.token_secret())
    if claims.expires_at <= time.time():
        raise NotAuthenticated("The token has expired; log in again.")
    return claims


@lru_cache(maxsize=256)
def _verified(token: str, secret: str) -> Claims:
    """Verify all but the expiry, which a cached result must not decide."""
    try:
        claims = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            # The database's clock says when a token was issued: it may be ahead of this one.
            options={"require": ["exp", "iat", "sub", "iss"], "verify_exp": False, "verify_iat": False},
        )
    except jwt.InvalidTokenError:
        raise NotAuthenticated("The token is not valid.") from None
    issued_at, expires_at = claims["iat"], claims["exp"]
    if not (_is_moment(issued_at) and _is_moment(expires_at)):
        raise NotAuthenticated("The token is not valid.")
    return Claims(username=claims["sub"], issued_at=float(issued_at), expires_at=float(expires_at))


def _is_moment(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= LAST_SECOND


def _issue_moment(conn: Connection, account: Account | None) -> float | None:
    """Return the database's time if the account still has the password that was checked, and is not disabled.

    The lock makes a change of the account wait, so that every token that was issued before the change is older than it.
    """
    row = conn.execute(
        """
        select extract(epoch from clock_timestamp())::float8
        from operators
        where username = %s
          and password_hash = %s
          and disabled_at is null
        for share
        """,
        (account.username, account.password_hash) if account else ("", ""),
    ).fetchone()
    return row[0] if row else None


def _token(username: str, issued: float, seconds: int) -> Token:
    expires = issued + seconds
    claims = {"iss": ISSUER, "sub": username, "iat": issued, "exp": expires}
    return Token(
        token=jwt.encode(claims, settings.token_secret(), algorithm=ALGORITHM),
        expires_at=datetime.fromtimestamp(expires, UTC),
    )


def _record_refusal(conn: Connection, username: str, source_ip: str) -> None:
    """Add an audit entry if the name has an account; the statement takes as long if it has none."""
    conn.execute(
        """
        insert into audit_log (actor, source_ip, action)
        select username, %s, 'log in refused'
        from operators
        where username = %s
        """,
        (source_ip, username),
    )
