"""Who calls: agents by key, operators by password and token."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache

import argon2
import jwt

from dispatcher.access import oidc
from dispatcher.errors import NotAllowed, NotAuthenticated, TooManyAttempts
from dispatcher.platform import settings
from dispatcher.platform.database import Connection
from dispatcher.platform.observability import logger
from dispatcher.store import keys, operators
from dispatcher.store.journal import Actor
from dispatcher.store.keys import Owner
from dispatcher.store.scopes import Scope

TOKEN_SECONDS = 3600
ISSUER = "agent-command-dispatcher"
API_TOKEN_PREFIX = "acd_"  # noqa: S105 - it is what every token begins with
"""What a token for scripts begins with, so that secret scanners and people know it."""
FREE_ATTEMPTS = 5
"""Failed log-ins of one name from one address before it has to wait."""
KEY_DIGITS = 64
"""An agent's key: 256 random bits as hexadecimal digits."""


class Role(StrEnum):
    """What an operator may do; each role may do what those before it may."""

    READER = "reader"
    SENDER = "sender"
    ADMIN = "admin"

    def allows(self, needed: "Role") -> bool:
        """Tell whether this role may do what `needed` may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)

    def at_most(self, other: "Role") -> "Role":
        """Return the lesser of two roles."""
        return other if self.allows(other) else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """An authenticated operator."""

    username: str
    role: Role
    scope: Scope = None
    """The labels that an agent must carry to be seen; None: every agent is seen."""
    source_ip: str | None = None

    @property
    def actor(self) -> Actor:
        """Who the audit log says that acts."""
        return Actor(name=self.username, source_ip=self.source_ip)

    def must_be(self, needed: Role) -> None:
        """Raise NotAllowed for an operator of a lesser role."""
        if not self.role.allows(needed):
            raise NotAllowed(f"This needs the role {needed}; yours is {self.role}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A signed token and the end of its life."""

    token: str
    expires_at: datetime


def log_in(conn: Connection, username: str, password: str, source_ip: str) -> Token:
    """Exchange a password for a token.

    Raises NotAuthenticated alike for a wrong name and a wrong password, and TooManyAttempts after FREE_ATTEMPTS of them.
    """
    if (seconds := operators.seconds_locked(conn, username, source_ip, FREE_ATTEMPTS)) > 0:
        raise TooManyAttempts("Too many failed attempts; wait before the next.", retry_after=seconds)
    account = operators.get(conn, username)
    try:
        # An unknown name costs the same work as a wrong password.
        _hasher().verify(account.password_hash if account else _decoy(), password)
    except argon2.exceptions.VerificationError:
        account = None
    if account is None or account.disabled_at:
        operators.note_failure(conn, username, source_ip)
        logger.warning("Log-in refused", extra={"operator": username[:128], "source_ip": source_ip})
        raise NotAuthenticated("The username or the password is wrong.")
    operators.forget_failures(conn, username, source_ip)
    issued = int(time.time())
    expires = issued + TOKEN_SECONDS
    claims = {"iss": ISSUER, "sub": username, "iat": issued, "exp": expires}
    return Token(
        token=jwt.encode(claims, settings.token_secret(), algorithm="HS256"),
        expires_at=datetime.fromtimestamp(expires, UTC),
    )


def operator_of(conn: Callable[[], AbstractContextManager[Connection]], authorization: str | None) -> Operator:
    """Read an `Authorization: Bearer …` header; raises NotAuthenticated with what is wrong with it.

    What its operator may do is read at each request: who is disabled or limited is so at once.
    """
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated(
            "Send the header `Authorization: Bearer <token>`; POST /api/v1/auth/login gives a token."
        )
    if token.startswith(API_TOKEN_PREFIX):
        with conn() as connection:
            return _operator_by_api_token(connection, token)
    if (issuer := oidc.configured()) and not _is_ours(token):
        who = issuer.verify(token)
        return Operator(username=who.username, role=Role(who.role), scope=who.labels)
    username = _username_of(token)
    with conn() as connection:
        return _as_of_now(connection, username)


def _username_of(token: str) -> str:
    try:
        claims = jwt.decode(
            token,
            settings.token_secret(),
            algorithms=["HS256"],
            issuer=ISSUER,
            options={"require": ["exp", "iat", "sub", "iss"]},
        )
    except jwt.ExpiredSignatureError:
        raise NotAuthenticated("The token has expired; log in again.") from None
    except jwt.InvalidTokenError:
        raise NotAuthenticated("The token is not valid.") from None
    username: str = claims["sub"]
    return username


def _operator_by_api_token(conn: Connection, token: str) -> Operator:
    found = operators.by_token(conn, key_hash(token))
    if found is None:
        raise NotAuthenticated("The token is not valid, has expired or was revoked.")
    username, role = found
    return _as_of_now(conn, username, at_most=Role(role))


def _as_of_now(conn: Connection, username: str, at_most: Role = Role.ADMIN) -> Operator:
    account = operators.get(conn, username)
    if account is None or account.disabled_at:
        raise NotAuthenticated("This operator was disabled.")
    return Operator(username=username, role=Role(account.role).at_most(at_most), scope=account.labels)


def _is_ours(token: str) -> bool:
    """Tell from the unverified issuer who has to verify a token; whoever lies there fails the verification."""
    try:
        claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return True
    return claims.get("iss") == ISSUER


def new_api_token() -> tuple[str, bytes]:
    """Make a token for scripts; return it, to be shown once, and the hash that is kept."""
    token = API_TOKEN_PREFIX + secrets.token_hex(KEY_DIGITS // 2)
    return token, key_hash(token)


def set_password(conn: Connection, username: str, password: str, role: Role, labels: Scope = None) -> None:
    """Make an operator, or give an existing one this password, role and limit."""
    operators.put(conn, username, _hasher().hash(password), role, labels)


def ensure_admin(conn: Connection, password: str) -> bool:
    """Give the user `admin` this password; False where it has it already."""
    account = operators.get(conn, "admin")
    if account and not account.disabled_at:
        try:
            _hasher().verify(account.password_hash, password)
        except argon2.exceptions.VerificationError:
            pass
        else:
            return False
    set_password(conn, "admin", password, Role.ADMIN)
    return True


def new_key() -> tuple[str, bytes]:
    """Make an agent's key or an enrolment token; return it, to be shown once, and the hash that is kept."""
    key = secrets.token_hex(KEY_DIGITS // 2)
    return key, key_hash(key)


def key_hash(key: str) -> bytes:
    """Hash a key: of 256 random bits, a plain SHA-256 gives nothing away."""
    return hashlib.sha256(key.lower().encode("utf-8", "replace")).digest()


def agent_of(conn: Connection, key: str | None, agent_id: str) -> Owner | None:
    """Return the owner of a key, if it is this agent; None for every wrong pair alike."""
    owner = keys.owner_of(conn, key_hash(key or ""))
    return owner if owner and hmac.compare_digest(owner.agent_id.encode(), agent_id.encode()) else None


@cache
def _hasher() -> argon2.PasswordHasher:
    # 19 MiB and two passes: OWASP's minimum, so that a login fits into a small function.
    return argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@cache
def _decoy() -> str:
    return _hasher().hash(secrets.token_hex(16))
