"""The edge: CloudFront in front of both APIs, if the deployment has it.

The edge sends a secret header with each request, so that no caller can bypass it, and a header with the caller's address.
"""

import hmac
from collections.abc import Mapping
from typing import Any

from dispatcher.platform import settings

SECRET_HEADER = "x-origin-secret"  # noqa: S105 - the name of a header
ADDRESS_HEADER = "x-caller-address"
"""The edge overwrites a caller's value.  Without this header only the edge's own address would be known."""


def headers_of(event: Mapping[str, Any]) -> dict[str, str]:
    """Return an event's headers with lower-case names; a WebSocket event keeps the case that the client wrote."""
    headers: Mapping[str, str] = event.get("headers") or {}
    return {name.lower(): value for name, value in headers.items()}


def came_through(headers: Mapping[str, str]) -> bool:
    """Tell whether a request with these headers (lower-case names) came through the edge; true if there is no edge.

    A request that bypasses the edge bypasses its firewall too.
    """
    secrets = settings.edge_secrets()
    shown = headers.get(SECRET_HEADER, "").encode()
    return secrets is None or any(hmac.compare_digest(shown, secret.encode()) for secret in secrets)


def caller_address(headers: Mapping[str, str], seen: str) -> str:
    """Return the caller's address: from the edge's header if there is an edge, else from the gateway."""
    return headers.get(ADDRESS_HEADER, seen) if settings.has_edge() else seen
