"""Authenticates callers of the HTTP API: finds the operator of an `Authorization` header."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import jwt

from dispatcher.access import api_tokens, login, oidc, operators
from dispatcher.access.credentials import API_TOKEN_PREFIX
from dispatcher.access.roles import Operator, Role
from dispatcher.errors import NotAuthenticated
from dispatcher.platform.database import Connection


def operator_of(connect: Callable[[], AbstractContextManager[Connection]], authorization: str | None) -> Operator:
    """Read an `Authorization: Bearer …` header; raises NotAuthenticated with what is wrong with it.

    The operator's rights are read at each request, so that disabling or limiting an operator takes effect immediately.
    `connect` is called only if the database is needed: a token of an OpenID Connect issuer needs none.
    """
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated(
            "Send the header `Authorization: Bearer <token>`; POST /api/v1/auth/login gives a token."
        )
    if token.startswith(API_TOKEN_PREFIX):
        with connect() as conn:
            return _operator_by_api_token(conn, token)
    if (issuer := oidc.configured()) and not _is_ours(token):
        who = issuer.verify(token)
        return Operator(username=who.username, role=Role(who.role), scope=who.labels)
    username = login.username_of(token)
    with connect() as conn:
        return _as_of_now(conn, username)


def _operator_by_api_token(conn: Connection, token: str) -> Operator:
    found = api_tokens.owner_of(conn, token)
    if found is None:
        raise NotAuthenticated("The token is not valid, has expired or was revoked.")
    username, role = found
    return _as_of_now(conn, username, at_most=role)


def _as_of_now(conn: Connection, username: str, at_most: Role = Role.ADMIN) -> Operator:
    account = operators.get(conn, username)
    if account is None or account.disabled_at:
        raise NotAuthenticated("This operator was disabled.")
    return Operator(username=username, role=Role(account.role).lower_of(at_most), scope=account.labels)


def _is_ours(token: str) -> bool:
    """Tell from the unverified issuer who has to verify a token; a wrong issuer then fails the verification."""
    try:
        claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return True
    return claims.get("iss") == login.ISSUER
