"""Secrets: how keys and tokens are made, and how keys and passwords are hashed."""

import hashlib
import hmac
import secrets
from functools import cache

import argon2

API_TOKEN_PREFIX = "acd_"  # noqa: S105 - the beginning of every API token
"""The prefix of API tokens, so that people and secret scanners recognize them."""
KEY_DIGITS = 64
"""The length of an agent's key: 256 random bits as hexadecimal digits."""


def new_key() -> tuple[str, bytes]:
    """Make an agent's key or an enrolment token; return it, to be shown once, and the hash to be stored."""
    key = secrets.token_hex(KEY_DIGITS // 2)
    return key, key_hash(key)


def enrolled_key(token: str, salt: bytes, agent_id: str) -> str:
    """Compute the key that an enrolment token gives an agent: the same one each time, and another with another salt."""
    return hmac.new(token.lower().encode("utf-8", "replace"), salt + agent_id.encode(), hashlib.sha256).hexdigest()


def new_api_token() -> tuple[str, bytes]:
    """Make an API token; return it, to be shown once, and the hash to be stored."""
    token = API_TOKEN_PREFIX + secrets.token_hex(KEY_DIGITS // 2)
    return token, key_hash(token)


def key_hash(key: str) -> bytes:
    """Hash a key.  A plain SHA-256 is enough for 256 random bits."""
    return hashlib.sha256(key.lower().encode("utf-8", "replace")).digest()


def password_hash(password: str) -> str:
    """Hash a password with Argon2id."""
    return _hasher().hash(password)


def password_matches(stored: str | None, password: str) -> bool:
    """Compare a password with its stored hash; without a hash (an unknown user) return False after the same work."""
    try:
        _hasher().verify(stored or _hash_of_nobody(), password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
    return stored is not None


@cache
def _hasher() -> argon2.PasswordHasher:
    # 19 MiB and two passes are OWASP's minimum; a small function has room for it.
    return argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@cache
def _hash_of_nobody() -> str:
    return _hasher().hash(secrets.token_hex(16))
