"""Authenticates callers of the HTTP API: finds the operator of an `Authorization` header."""

import jwt

from dispatcher.access import credentials, login, oidc
from dispatcher.access.credential_checks import MAKERS_STAND
from dispatcher.access.credentials import API_TOKEN_PREFIX
from dispatcher.access.login import Claims
from dispatcher.access.roles import Credential, Operator, Role
from dispatcher.errors import NotAuthenticated
from dispatcher.platform import database
from dispatcher.platform.database import Connection
from dispatcher.platform.hot_statements import HotStatement

TOKEN_CHARACTERS = 16_384
"""More than any issuer's token has, and fewer than make decoding expensive."""

_BY_LOG_IN = HotStatement(
    b"""
    select o.role, o.labels, o.disabled_at is not null, o.valid_after > to_timestamp(%(issued_at)s),
        exists (select from ended_log_ins e where e.username = o.username and e.issued_at = %(issued_at)s)
    from operators o
    where o.username = %(username)s
    """
)
_BY_API_TOKEN = HotStatement(
    f"""
    select t.username, t.role, o.role, o.labels, t.made_with || t.token_id,
        extract(epoch from t.created_at)::float8, t.expires_at
    from api_tokens t
    join operators o using (username)
    where t.token_hash = %(token_hash)s
      and t.revoked_at is null
      and t.expires_at > now()
      and o.disabled_at is null
      and t.created_at >= o.valid_after
      and {MAKERS_STAND}
    """.encode()
)


def operator_of(authorization: str | None, source_ip: str) -> Operator:
    """Read an `Authorization: Bearer …` header; raises NotAuthenticated with what is wrong with it.

    One statement reads the operator's rights, at each request: a right that was taken away is gone at the next one.  Of a token
    of an OpenID Connect issuer it tells whether its log-in has ended here.  A passing error of the database is waited for.
    """
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated(
            "Send the header `Authorization: Bearer <token>`; POST /api/v1/auth/login gives a token."
        )
    if len(token) > TOKEN_CHARACTERS:
        raise NotAuthenticated("The token is not valid.")
    if token.startswith(API_TOKEN_PREFIX):
        token_hash = credentials.key_hash(token)
        return database.persistently(lambda conn: _by_api_token(conn, token_hash, source_ip))
    if (issuer := oidc.configured()) and not _is_ours(token):
        operator = issuer.verify(token, source_ip)
        if database.persistently(lambda conn: login.has_ended(conn, operator)):
            raise NotAuthenticated("You have logged out; log in again.")
        return operator
    claims = login.claims_of(token)
    return database.persistently(lambda conn: _by_login(conn, claims, source_ip))


def _by_login(conn: Connection, claims: Claims, source_ip: str) -> Operator:
    rows = _BY_LOG_IN.fetch(conn, {"issued_at": claims.issued_at, "username": claims.username})
    if not rows or rows[0][2]:
        raise NotAuthenticated("This operator was disabled.")
    role, labels, _, changed, ended = rows[0]
    if ended:
        raise NotAuthenticated("You have logged out; log in again.")
    if changed:
        raise NotAuthenticated("Your password or your rights were changed; log in again.")
    credential = Credential(issued_at=claims.issued_at)
    return Operator(username=claims.username, role=Role(role), scope=labels, source_ip=source_ip, credential=credential)


def _by_api_token(conn: Connection, token_hash: bytes, source_ip: str) -> Operator:
    rows = _BY_API_TOKEN.fetch(conn, {"token_hash": token_hash})
    if not rows:
        raise NotAuthenticated("The token is not valid, has expired or was revoked.")
    username, at_most, role, labels, token_ids, created_at, expires_at = rows[0]
    return Operator(
        username=username,
        role=Role(role).lower_of(Role(at_most)),
        scope=labels,
        source_ip=source_ip,
        credential=Credential(issued_at=created_at, expires_at=expires_at, token_ids=tuple(token_ids)),
    )


def _is_ours(token: str) -> bool:
    """Tell from the unverified issuer who has to verify a token; a wrong issuer then fails the verification."""
    try:
        claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return True
    return claims.get("iss") == login.ISSUER
