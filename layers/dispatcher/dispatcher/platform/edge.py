"""Whether a request came through the front door, where there is one, and from whom."""

import hmac
from collections.abc import Mapping
from typing import Any

from dispatcher.platform import settings

HEADER = "x-origin-secret"
CALLER = "x-caller-address"
"""What the front door writes over whatever a caller says there: the gateway sees the front door's own address."""


def headers_of(event: Mapping[str, Any]) -> dict[str, str]:
    """Return an event's headers, with lower-case names: a WebSocket event keeps the case that the client wrote."""
    headers: Mapping[str, str] = event.get("headers") or {}
    return {name.lower(): value for name, value in headers.items()}


def passed(headers: Mapping[str, str]) -> bool:
    """Tell whether these headers, named in small letters, show what only the front door knows; without one, all do.

    Whoever goes around it goes around its firewall too.
    """
    secrets = settings.origin_secrets()
    shown = headers.get(HEADER, "").encode()
    return secrets is None or any(hmac.compare_digest(shown, secret.encode()) for secret in secrets)


def caller(headers: Mapping[str, str], seen: str) -> str:
    """Return the address of who calls: the front door's word, where it has passed one; else what the gateway saw."""
    return headers.get(CALLER, seen) if settings.has_front_door() else seen
