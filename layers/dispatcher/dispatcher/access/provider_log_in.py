"""Log-ins of browsers at an OpenID Connect issuer: the authorization code flow of a public client, with PKCE (RFC 7636).

The page sends the browser to the issuer, and gets a code back.  The service exchanges the code for the issuer's token, because
no script should see it: it goes into the cookie of the session.
"""

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from dispatcher.access import audit_log, login_budgets, oidc
from dispatcher.access.oidc import FETCH_SECONDS, Issuer
from dispatcher.access.roles import Operator
from dispatcher.errors import DispatcherError, Misconfigured, NotAuthenticated, NotFound, Unavailable
from dispatcher.platform.database import Connection
from dispatcher.platform.json_text import as_object

COOKIE_CHARACTERS = 3_900
"""Browsers keep cookies of 4,096 characters with their name and attributes."""
_QUOTED = 200
_CONFIGURED_WRONGLY = frozenset({"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope"})
"""What an issuer says of its client whatever the code is (RFC 6749, 5.2)."""

Connect = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Where a browser begins, and as which client."""

    issuer: str
    authorization_endpoint: str
    client_id: str
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What a browser brings back: the code, its own proof (PKCE), and the address that it gave to the issuer."""

    code: str
    verifier: str
    redirect_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn:
    """A token of the issuer, whose it is, and for how many seconds it is valid."""

    token: str
    operator: Operator
    seconds: int


class _CodeRefused(NotAuthenticated):
    """The issuer refused the code."""


def provider() -> Provider | None:
    """Return the issuer at which operators log in; None if there is none.  Raises Unavailable if it cannot be reached."""
    issuer, client_id = oidc.configured(), os.environ.get("OIDC_CLIENT_ID")
    if issuer is None or not client_id:
        return None
    return Provider(
        issuer=issuer.url,
        authorization_endpoint=issuer.address_of("authorization_endpoint"),
        client_id=client_id,
        scope=os.environ.get("OIDC_SCOPE") or "openid",
    )


def log_in(connect: Connect, code: Code, source_ip: str) -> LoggedIn:
    """Exchange a code for the issuer's token, and record the log-in in the audit log.

    Everybody can send codes, so refused ones use up a budget of their address, which is not that of passwords:
    TooManyAttempts.  Each code is counted before the issuer is asked, so that parallel ones cannot exceed the budget; it is
    given back unless the issuer refuses the code.  Raises NotFound if there is no issuer to log in at, NotAuthenticated for
    what the issuer or its token refuses, Unavailable if the issuer cannot answer, and Misconfigured if it refuses its client
    or if its token fits no cookie.
    """
    budget = {"address": f"codes {login_budgets.network_of(source_ip)}"}
    with connect() as conn, conn.transaction():
        login_budgets.record_failure(conn, login_budgets.reserve(conn, budget))
    refused = False
    try:
        logged_in = _log_in(code, source_ip)
    except _CodeRefused:
        refused = True
        raise
    finally:
        if not refused:
            with connect() as conn:
                login_budgets.give_back(conn, budget)
    with connect() as conn:
        audit_log.record(conn, logged_in.operator.actor, "log in")
    return logged_in


def _log_in(code: Code, source_ip: str) -> LoggedIn:
    issuer, client_id = oidc.configured(), os.environ.get("OIDC_CLIENT_ID")
    if issuer is None or not client_id:
        raise NotFound("No OpenID Connect issuer is configured for log-ins of browsers.")
    answer = _exchange(issuer, client_id, code)
    # The token that is for this service: the ID token if the service is the client, else the access token.
    token = answer.get("id_token" if issuer.audience == client_id else "access_token")
    if not isinstance(token, str):
        raise NotAuthenticated("The issuer gave no token for this service.")
    if len(token) > COOKIE_CHARACTERS:
        raise Misconfigured(
            f"The issuer's token has {len(token):,} characters, and a browser's cookie takes {COOKIE_CHARACTERS:,}: "
            "leave claims out of it."
        )
    operator = issuer.verify(token, source_ip)
    ends = operator.credential.expires_at if operator.credential else None
    seconds = int((ends - datetime.now(UTC)).total_seconds()) if ends else 0
    return LoggedIn(token=token, operator=operator, seconds=max(seconds, 1))


def _exchange(issuer: Issuer, client_id: str, code: Code) -> dict[str, object]:
    form = {
        "grant_type": "authorization_code",
        "code": code.code,
        "redirect_uri": code.redirect_uri,
        "client_id": client_id,
        "code_verifier": code.verifier,
    }
    address = issuer.address_of("token_endpoint")
    # Some issuers give tokens of browsers' clients only to requests with an origin.
    headers = {"Accept": "application/json", "Origin": code.redirect_uri.removesuffix("/console/")}
    try:
        request = Request(address, data=urlencode(form).encode(), headers=headers)  # noqa: S310 - over http or https
        with urlopen(request, timeout=FETCH_SECONDS) as answer:  # noqa: S310 - the issuer names it
            return as_object(json.loads(answer.read())) or {}
    except HTTPError as error:
        raise _problem_of(error) from None
    except (OSError, ValueError, HTTPException):
        raise Unavailable("The issuer cannot be reached at present.") from None


def _problem_of(error: HTTPError) -> DispatcherError:
    """Tell a refused code from the issuer's own faults, and from those of its configuration."""
    if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code == HTTPStatus.TOO_MANY_REQUESTS:
        return Unavailable("The issuer cannot answer at present.")
    try:
        said = as_object(json.loads(error.read())) or {}
    except (OSError, ValueError, HTTPException):
        said = {}
    reason = str(said.get("error_description") or said.get("error") or error.code)[:_QUOTED]
    if said.get("error") in _CONFIGURED_WRONGLY:
        return Misconfigured(f"The issuer refuses the client of this service: {reason}")
    return _CodeRefused(f"The issuer refused the log-in: {reason}")
