"""The feed of events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from command_dispatcher.client.decoding import Model

EVENTS = "/api/v1/events"
LONGEST_WAIT = 20
"""Seconds that the service waits for an event before it answers with none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Model):
    """Something that happened to a command or to an agent; it carries no payload."""

    id: str
    type: str
    at: datetime
    agent_id: str | None = None
    command_id: str | None = None
    action: str | None = None
    status: str | None = None
    attempt: int | None = None
    cause: str | None = None
    correlation_id: str | None = None


def events_query(
    after: str | None, types: Sequence[str] | None, agent_id: str | None, selector: str | None, *, wait: int = 0
) -> dict[str, Any]:
    """Return the parameters of one read of the feed."""
    return {
        "after": after,
        "types": ",".join(types) if types else None,
        "agentId": agent_id,
        "selector": selector,
        "wait": wait or None,
    }
