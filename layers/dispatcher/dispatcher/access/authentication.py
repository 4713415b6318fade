"""Authenticates callers of the HTTP API: finds the operator of an `Authorization` header."""

import jwt

from dispatcher.access import credentials, login, oidc
from dispatcher.access.callers import Caller
from dispatcher.access.credentials import API_TOKEN_PREFIX
from dispatcher.access.roles import Operator
from dispatcher.errors import NotAuthenticated
from dispatcher.platform import database

TOKEN_CHARACTERS = 16_384
"""More than any issuer's token has, and fewer than make decoding expensive."""


def operator_of(authorization: str | None, source_ip: str) -> Operator:
    """Read an `Authorization: Bearer …` header; raises NotAuthenticated with what is wrong with it.

    One statement reads the operator's rights, at each request: a right that was taken away is gone at the next one.  Of a token
    of an OpenID Connect issuer it tells whether its log-in has ended here.  A passing error of the database is waited for.
    """
    return operator_for(caller_of(authorization, source_ip))


def operator_for(caller: Caller | Operator) -> Operator:
    """Read the rights of a caller; raises NotAuthenticated as `operator_of` does."""
    if isinstance(caller, Caller):
        return database.persistently(caller.operator)
    if database.persistently(lambda conn: login.has_ended(conn, caller)):
        raise NotAuthenticated("You have logged out; log in again.")
    return caller


def caller_of(authorization: str | None, source_ip: str) -> Caller | Operator:
    """Read an `Authorization: Bearer …` header without the database; raises NotAuthenticated if that is enough to refuse it.

    An Operator is one of an OpenID Connect issuer, whose log-in may have ended here.
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
        return Caller(source_ip=source_ip, api_token_hash=credentials.key_hash(token))
    if (issuer := oidc.configured()) and not _is_ours(token):
        return issuer.verify(token, source_ip)
    claims = login.claims_of(token)
    return Caller(source_ip=source_ip, username=claims.username, issued_at=claims.issued_at)


def _is_ours(token: str) -> bool:
    """Tell from the unverified issuer who has to verify a token; a wrong issuer then fails the verification."""
    try:
        claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return True
    return claims.get("iss") == login.ISSUER
