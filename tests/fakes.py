"""A fake of API Gateway, the only part that does not belong to the product."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dispatcher.platform.gateway import Posted


@dataclass(slots=True)
class FakeGateway:
    """Records posts; `outcomes` has the answers to the first ones, in order; all later ones are accepted."""

    outcomes: list[Posted] = field(default_factory=list[Posted])
    frames: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    closed: list[str] = field(default_factory=list[str])
    before_post: Callable[[str], None] | None = None

    def post(self, connection_id: str, frame: str) -> Posted:
        """Answer as scripted; record an accepted post."""
        if self.before_post:
            self.before_post(frame)
        posted = self.outcomes.pop(0) if self.outcomes else Posted.TAKEN
        if posted in {Posted.TAKEN, Posted.UNKNOWN}:
            self.frames.append((connection_id, frame))
        return posted

    def obstacle(self) -> None:
        """Nothing keeps a caller from this gateway."""

    def is_live(self, connection_id: str) -> bool:
        """Return True for every connection that was not closed."""
        return connection_id not in self.closed

    def close(self, connection_id: str) -> None:
        """Record it."""
        self.closed.append(connection_id)

    @property
    def command_ids(self) -> list[str]:
        """The ids of the accepted commands, in order, in both protocols."""
        return [
            command["commandId"]
            for message in self.messages
            for command in (message["commands"] if "commands" in message else [message["payload"]])
        ]

    @property
    def connection_ids(self) -> list[str]:
        """The connections that the frames went to, in order."""
        return [connection_id for connection_id, _ in self.frames]

    @property
    def messages(self) -> list[Any]:
        """The accepted frames, decoded, in order."""
        return [json.loads(frame) for _, frame in self.frames]


def plenty() -> float:
    """Return the remaining time: 60 seconds."""
    return 60.0
