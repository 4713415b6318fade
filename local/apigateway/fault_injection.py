"""Where faults are thrown at the functions: a hook that the gateway asks before it does something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What shall happen to one post, message or asynchronous invocation; the default is: nothing unusual."""

    delay: float = 0.0  # seconds before anything happens
    copies: int = 1  # how often it is delivered: 0 drops it, 2 doubles it
    status: int | None = None  # posts: refuse with 403, 410, 413, 429 or 5xx; nothing is delivered
    answer_after: float = 0.0  # posts: seconds between delivery and answer, so that the caller times out


NO_FAULT = Fault()


class Faults(Protocol):
    """Decides what goes wrong; asked once for each event."""

    def on_post(self, connection_id: str, data: bytes) -> Fault:
        """Decide about a PostToConnection."""
        ...

    def on_message(self, connection_id: str, data: bytes) -> Fault:
        """Decide about a message from an agent."""
        ...

    def on_invoke(self, function: str, event: object) -> Fault:
        """Decide about an asynchronous invocation, a schedule's included."""
        ...


class NoFaults:
    """Nothing goes wrong."""

    def on_post(self, connection_id: str, data: bytes) -> Fault:  # noqa: ARG002
        """Deliver."""
        return NO_FAULT

    def on_message(self, connection_id: str, data: bytes) -> Fault:  # noqa: ARG002
        """Deliver."""
        return NO_FAULT

    def on_invoke(self, function: str, event: object) -> Fault:  # noqa: ARG002
        """Deliver."""
        return NO_FAULT
