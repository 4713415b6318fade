"""Refuses requests that a foreign site has made a browser send.

A page of another site can send requests to this machine, and with DNS rebinding it can even read the answers: its own
name then leads here.  A browser tells both: the name in `Host`, the site in `Origin`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from local.apigateway.http_messages import json_response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.apigateway.http_messages import Request, Response

_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})
_NAME = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://)?(?:\[([0-9a-f:.]+)\]|([^\s:/?#@\[\]]+))(?::\d*)?", re.IGNORECASE | re.ASCII
)
"""A Host header, or an Origin header with a site: the name is in one of the groups."""
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class KnownHosts:
    """Knows what is addressed to this machine, or to one of `hosts`, by a client or page of it.

    Any port is accepted, as it differs behind a forwarded port or a proxy; a foreign site cannot have one of these names.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        self._hosts = _THIS_MACHINE | {host.lower() for host in hosts}
        self._knows = lru_cache(maxsize=64)(self._names_a_known_host)

    def refusal_of(self, request: Request) -> Response | None:
        """Return the refusal of a request that a foreign site has sent."""
        if not self._knows(request.header("host")):  # a missing or repeated Host is refused, too
            detail = "The Host header must name this machine. Another name is allowed if DISPATCHER_HOSTS contains it."
            return _problem(421, "Misdirected Request", detail)
        origin = request.fields.get("origin")
        if origin is not None and _acts(request) and not self._knows(origin):
            detail = "A page of another site may not do this. Its host is allowed if DISPATCHER_HOSTS contains it."
            return _problem(403, "Forbidden", detail)
        return None

    def _names_a_known_host(self, value: str) -> bool:
        found = _NAME.fullmatch(value)
        return found is not None and (found[1] or found[2]).lower() in self._hosts


def _acts(request: Request) -> bool:
    return request.is_handshake or request.method not in _READING


def _problem(status: int, title: str, detail: str) -> Response:
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return json_response(problem, status, "application/problem+json")
