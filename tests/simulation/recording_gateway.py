"""A gateway that accepts every post and records it in a table, where it survives the process that posted."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.gateway import Posted


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A command that reached the agent."""

    command_id: str
    attempt: int


class RecordingGateway:
    """Implements `dispatcher.platform.gateway.Gateway`; `before` and `after` are called around each post."""

    def __init__(
        self, url: str, before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None
    ) -> None:
        self._conn = open_connection(url)
        self._before = before
        self._after = after
        self._conn.execute("create table if not exists posted (number int generated always as identity, message text)")

    def post(self, connection_id: str, frame: str) -> Posted:
        """Record a message."""
        del connection_id
        self._before()
        self._conn.execute("insert into posted (message) values (%s)", (frame,))
        self._after()
        return Posted.TAKEN

    def is_live(self, connection_id: str) -> bool:
        """Every connection is live."""
        return bool(connection_id)

    def close(self, connection_id: str) -> None:
        """Close nothing."""

    def disconnect(self) -> None:
        """Close the gateway's own database connection."""
        self._conn.close()


def deliveries(conn: Connection) -> list[Delivery]:
    """Read what reached the agent, in order."""
    found: list[Delivery] = []
    for (text,) in conn.execute("select message from posted order by number").fetchall():
        message: dict[str, Any] = json.loads(text)
        found += [Delivery(command_id=each["commandId"], attempt=each["attempt"]) for each in message["commands"]]
    return found
