"""Sessions of browsers: the token of a log-in is in a cookie that no script can read.

A browser sends cookies by itself, so a request that is authenticated by one must prove that the service's own page sent it: by
a token that only this page can read, and by what the browser says about the request's origin.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from dispatcher.errors import ForeignRequest
from dispatcher.platform import settings

CSRF_HEADER = "x-csrf-token"
SAFE_METHODS = frozenset({"GET", "HEAD"})
_COOKIE = "dispatcher-session"
_FOREIGN = frozenset({"cross-site", "same-site"})


def authorization_of(event: Mapping[str, Any], headers: Mapping[str, str], method: str) -> str | None:
    """Return the request's `Authorization` header, or the same for its session cookie (`headers`: lower-case names).

    Raises ForeignRequest if a cookie would authenticate a request that did not come from the service's own page.
    """
    written = headers.get("authorization")
    token = None if written else _cookie_of(event, headers)
    if token is None:
        return written
    require_own_page(headers)
    shown = headers.get(CSRF_HEADER, "")
    if method not in SAFE_METHODS and not hmac.compare_digest(shown.encode(), csrf_token(token).encode()):
        raise ForeignRequest(f"Send the csrfToken of your session in the header {CSRF_HEADER}.")
    return f"Bearer {token}"


def require_own_page(headers: Mapping[str, str]) -> None:
    """Raise ForeignRequest if the browser says that a page of another origin sent the request."""
    if headers.get("sec-fetch-site") in _FOREIGN:
        raise ForeignRequest("A page of another site sent this request.")


def csrf_token(token: str) -> str:
    """Return what requests that change something must show, beside the cookie with this token."""
    return hmac.new(settings.token_secret().encode(), b"csrf " + token.encode(), hashlib.sha256).hexdigest()


def cookie(token: str, seconds: int, headers: Mapping[str, str]) -> str:
    """Return the `Set-Cookie` header for a token; over https the browser never sends it in the clear."""
    secure = "; Secure" if _is_secure(headers) else ""
    return f"{_name(headers)}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}"


def _cookie_of(event: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    # API Gateway gives cookies a list of their own.
    written: list[str] = event.get("cookies") or headers.get("cookie", "").split(";")
    name = _name(headers)
    values = (value for each in written for key, _, value in [each.strip().partition("=")] if key == name)
    return next(values, None) or None


def _name(headers: Mapping[str, str]) -> str:
    """Return the cookie's name; over https its prefix keeps other hosts of the domain from setting it."""
    return f"__Host-{_COOKIE}" if _is_secure(headers) else _COOKIE


def _is_secure(headers: Mapping[str, str]) -> bool:
    return headers.get("x-forwarded-proto", "") == "https"
