"""One message of an agent: what it said, over which connection, opened with which key."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dispatcher.protocol.decoding import text_of


class Said(NamedTuple):
    """A message of an authenticated agent."""

    agent_id: str
    connection_id: str
    text: str
    key_id: str | None = None
    """None: an older version of the authorizer did not name the key."""
    event_id: str | None = None
    """Tells two equal messages apart, and is the same if one is handled twice."""
    said_at: int | None = None
    """When the gateway received it, in milliseconds since 1970; None: now."""

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> "Said":
        """Read a WebSocket event."""
        request = event["requestContext"]
        authorizer = request["authorizer"]
        return cls(
            agent_id=authorizer["agentId"],
            connection_id=request["connectionId"],
            text=text_of(event),
            key_id=authorizer.get("keyId"),
            event_id=request["requestId"],
            said_at=request.get("requestTimeEpoch"),
        )

    def as_document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return self._asdict()

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Said":
        """Read what `as_document` returned, also in another release: members that this one does not know are left out."""
        return cls(**{name: document[name] for name in cls._fields if name in document})
