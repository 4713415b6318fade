"""A gateway that does to posts whatever a real one does to them, and what happens to the process meanwhile."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from dispatcher.platform.gateway import Posted
from tests.simulation.connection import Killed
from tests.simulation.record import Carried, Post

if TYPE_CHECKING:
    from tests.simulation.world import World


class Fate(StrEnum):
    """What becomes of one post."""

    TAKEN = "taken"
    SWALLOWED = "gateway: taken, but the agent never got it"
    GONE = "gateway: 410, the socket was cut"
    REFUSED = "gateway: 429 or 5xx"
    TOO_LARGE = "gateway: 413"
    UNKNOWN_ARRIVED = "gateway: timeout after delivery"
    UNKNOWN_LOST = "gateway: timeout without delivery"
    KILLED_BEFORE = "process: killed between claim and post"
    KILLED_AFTER = "process: killed between post and settle"
    CUT = "database: connection lost while posting"


_ARRIVES = {Fate.TAKEN, Fate.UNKNOWN_ARRIVED, Fate.KILLED_AFTER, Fate.CUT}
_ANSWERS = {
    Fate.SWALLOWED: Posted.TAKEN,
    Fate.GONE: Posted.GONE,
    Fate.REFUSED: Posted.REFUSED,
    Fate.TOO_LARGE: Posted.TOO_LARGE,
    Fate.UNKNOWN_ARRIVED: Posted.UNKNOWN,
    Fate.UNKNOWN_LOST: Posted.UNKNOWN,
}
FATES = (Fate.TAKEN,) * 14 + tuple(Fate)


@dataclass(slots=True, kw_only=True)
class Socket:
    """One socket, as the gateway sees it."""

    connection_id: str
    agent_id: str
    opened: float
    """When its handshake began, and later when that was over, by the simulated clock."""
    heard: float
    """When the agent last sent a heartbeat over it."""
    state: str = "opening"
    """opening: $connect has not returned, posts get 410; then open; then closed."""
    half_open: bool = False
    """The agent is gone, and the gateway does not know."""

    @property
    def healthy(self) -> bool:
        """Whether what is posted here arrives."""
        return self.state == "open" and not self.half_open


class FaultyGateway:
    """Implements `dispatcher.platform.gateway.Gateway` with fates that the history chooses."""

    def __init__(self, world: "World") -> None:
        self.sockets: dict[str, Socket] = {}
        self._world = world
        self._leases: set[str] = set()

    def open(self, agent_id: str) -> Socket:
        """Accept a handshake; the socket is live once $connect has returned."""
        now = self._world.clock.monotonic()
        name = f"c{len(self.sockets) + 1}"
        socket = Socket(connection_id=name, agent_id=agent_id, opened=now, heard=now)
        self.sockets[socket.connection_id] = socket
        return socket

    def post(self, connection_id: str, frame: str) -> Posted:
        """Post one frame."""
        world = self._world
        socket = self.sockets[connection_id]
        post = self._begin(socket, tuple(commands_of(frame)))
        carried = post.carried
        fate = world.choose(FATES)
        if socket.state != "open" and fate in {*_ARRIVES, Fate.SWALLOWED} - {Fate.KILLED_AFTER, Fate.CUT}:
            fate = Fate.GONE
        names = ", ".join(f"{each.action} (attempt {each.attempt})" for each in carried) or "a request to cancel"
        world.say(f"post to {socket.agent_id} over {connection_id}: {names}: {fate}")
        if fate is not Fate.TAKEN:
            world.trouble(fate, socket.agent_id)
        if fate is Fate.KILLED_BEFORE:
            raise Killed
        if fate is Fate.GONE:
            self.cut(socket)
        if fate in _ARRIVES and socket.healthy:
            post.arrived = True
            world.arrive(socket, carried)
        world.interlude(socket.agent_id)
        if fate is Fate.CUT:
            world.running[-1].cut()
        post.until = world.record.tick()
        if fate is Fate.KILLED_AFTER:
            raise Killed
        return _ANSWERS.get(fate, Posted.TAKEN)

    def _begin(self, socket: Socket, carried: tuple[Carried, ...]) -> Post:
        world = self._world
        post = world.observe_post(socket)
        ran = {each.command_id: each.attempt for each in post.queue}
        post.carried = tuple(replace(each, attempt=ran.get(each.command_id, 0)) for each in carried)
        if post.lease:
            post.first = post.lease not in self._leases
            self._leases.add(post.lease)
        if carried:
            world.record.posts.append(post)
        return post

    def is_live(self, connection_id: str) -> bool:
        """Tell whether the connection can be posted to."""
        self._world.observe_call()
        return self.sockets[connection_id].state == "open"

    def close(self, connection_id: str) -> None:
        """Close the connection, best effort: now and then it stays."""
        self._world.observe_call()
        socket = self.sockets[connection_id]
        if self._world.choose((True, True, True, True, False)):
            self.cut(socket)
        else:
            self._world.trouble("gateway: close did nothing", socket.agent_id)
        self._world.interlude(socket.agent_id)

    def cut(self, socket: Socket) -> None:
        """Let the gateway's side of a socket end; $disconnect may follow."""
        if socket.state != "closed":
            if socket.state == "open":
                self._world.closings.append(socket)
            socket.state = "closed"


def exactly(text: str) -> Any:
    """Decode JSON with every digit of its numbers."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def commands_of(frame: str) -> Iterator[Carried]:
    """Read the commands that a frame carries; a request to cancel carries none."""
    message: dict[str, Any] = exactly(frame)
    if message["type"] == "command":
        fields = message["payload"]
        yield Carried(command_id=fields["commandId"], attempt=0, action=fields["action"], payload=fields["payload"])
    elif message["type"] == "commands":
        for entry in message["commands"]:
            yield Carried(
                command_id=entry["commandId"],
                attempt=0,
                action=entry["action"],
                payload=entry["payload"],
                named_attempt=int(entry["attempt"]),
            )
