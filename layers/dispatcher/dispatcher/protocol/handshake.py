"""The query of an agent's WebSocket handshake: the protocol, and how many commands at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dispatcher.errors import InvalidRequest

WINDOW, WINDOW_MOST = 32, 100
"""The default window of an agent of protocol 2, and the largest that it may request."""


class DeliveryMode(StrEnum):
    """How the service speaks to an agent, as stored in `agents.dialect`."""

    ACKNOWLEDGING = "acknowledging"
    """Protocol 1: an ack, then the outcome.  One unacknowledged command at a time."""
    UNACKNOWLEDGED = "silent"
    """Protocol 1 without acks (the docker-agent): only the outcome, which names the session.  One command a session."""
    BATCHING = "batching"
    """Protocol 2: many commands in a message, many unacknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """The delivery mode that an agent requests, and its window; without a mode, the agent's platform decides."""

    mode: DeliveryMode | None = None
    window: int = 1

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "Handshake":
        """Read the query; raises InvalidRequest for an unknown protocol and for a window that is not allowed."""
        protocol, window = query.get("protocol", "1"), query.get("window", str(WINDOW))
        if protocol == "1":
            return cls()
        if protocol != "2":
            raise InvalidRequest("There are the protocols 1 and 2.")
        is_short = window.isascii() and window.isdecimal() and len(window) <= len(str(WINDOW_MOST))
        number = int(window) if is_short else 0
        if not 1 <= number <= WINDOW_MOST:
            raise InvalidRequest(f"The window is a number from 1 to {WINDOW_MOST}.")
        return cls(mode=DeliveryMode.BATCHING, window=number)
