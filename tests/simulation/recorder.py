"""A gateway that outlives the process that posts: what it took stands in a table of its own."""

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


class Recorder:
    """Implements `dispatcher.platform.gateway.Gateway`; every post is taken, and written down over a connection of its own."""

    def __init__(self, url: str, before: Callable[[], None], after: Callable[[], None]) -> None:
        self._conn = open_connection(url)
        self._before = before
        self._after = after
        self._conn.execute("create table if not exists posted (number int generated always as identity, frame text)")

    def post(self, connection_id: str, frame: str) -> Posted:
        """Take a frame."""
        del connection_id
        self._before()
        self._conn.execute("insert into posted (frame) values (%s)", (frame,))
        self._after()
        return Posted.TAKEN

    def is_live(self, connection_id: str) -> bool:
        """Tell that every connection is there."""
        return bool(connection_id)

    def close(self, connection_id: str) -> None:
        """Close nothing."""

    def end(self) -> None:
        """Close the recorder's own connection."""
        self._conn.close()


def deliveries(conn: Connection) -> list[Delivery]:
    """Read what reached the agent, in order."""
    found: list[Delivery] = []
    for (frame,) in conn.execute("select frame from posted order by number").fetchall():
        message: dict[str, Any] = json.loads(frame)
        found += [Delivery(command_id=each["commandId"], attempt=each["attempt"]) for each in message["commands"]]
    return found
