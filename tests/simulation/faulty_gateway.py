"""A gateway that does to posts what a real one does, and to the process that posts what can happen meanwhile."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dispatcher.platform.gateway import Posted
from tests.simulation.faulty_connection import ProcessKilled
from tests.simulation.history import Post, PostedCommand
from tests.simulation.injected_faults import POST_FAULTS, ActorFault, PostFault

if TYPE_CHECKING:
    from tests.simulation.simulator import Simulation

_DELIVERED = {PostFault.NONE, PostFault.TIMEOUT_DELIVERED, PostFault.KILLED_AFTER, PostFault.DATABASE_LOST}
_NEEDS_OPEN_CONNECTION = {PostFault.NONE, PostFault.TIMEOUT_DELIVERED, PostFault.SWALLOWED}
_ANSWERS = {
    PostFault.GONE: Posted.GONE,
    PostFault.REFUSED: Posted.REFUSED,
    PostFault.TOO_LARGE: Posted.TOO_LARGE,
    PostFault.TIMEOUT_DELIVERED: Posted.UNKNOWN,
    PostFault.TIMEOUT_LOST: Posted.UNKNOWN,
}


@dataclass(slots=True, kw_only=True)
class AgentConnection:
    """One WebSocket connection, as the gateway sees it."""

    connection_id: str
    agent_id: str
    opened: float
    """When its handshake began, and later when it ended, in seconds on the simulated clock."""
    last_heartbeat: float
    state: str = "opening"
    """opening ($connect has not returned, and posts get 410), open, closed or refused."""
    half_open: bool = False
    """The agent is gone, but the gateway does not know it."""

    @property
    def healthy(self) -> bool:
        """Whether a post arrives."""
        return self.state == "open" and not self.half_open


class FaultyGateway:
    """Implements `dispatcher.platform.gateway.Gateway`; the history chooses what happens to each call."""

    def __init__(self, simulation: "Simulation") -> None:
        self.connections: dict[str, AgentConnection] = {}
        self.disconnects: list[AgentConnection] = []
        """Closed connections whose $disconnect event may still come."""
        self._simulation = simulation
        self._leases: set[str] = set()

    def open(self, agent_id: str) -> AgentConnection:
        """Begin a handshake; the connection is open once $connect has returned."""
        now = self._simulation.clock.monotonic()
        connection_id = f"c{len(self.connections) + 1}"
        self.connections[connection_id] = AgentConnection(
            connection_id=connection_id, agent_id=agent_id, opened=now, last_heartbeat=now
        )
        return self.connections[connection_id]

    def post(self, connection_id: str, frame: str) -> Posted:
        """Post one message."""
        simulation = self._simulation
        connection = self.connections[connection_id]
        post = self._record(connection, tuple(commands_of(frame)))
        fault = simulation.choose(POST_FAULTS)
        if connection.state != "open" and fault in _NEEDS_OPEN_CONNECTION:
            fault = PostFault.GONE
        names = ", ".join(f"{each.action} (attempt {each.attempt})" for each in post.commands) or "a cancel request"
        simulation.log(f"post to {connection.agent_id} over {connection_id}: {names}: {fault}")
        if fault is not PostFault.NONE:
            simulation.record_fault(fault, connection.agent_id)
        if fault is PostFault.KILLED_BEFORE:
            raise ProcessKilled
        if fault is PostFault.GONE:
            self.cut(connection)
        if fault in _DELIVERED and connection.healthy:
            post.arrived = True
            simulation.agents.receive(connection, post.commands)
        simulation.run_others(connection.agent_id)
        if fault is PostFault.DATABASE_LOST:
            simulation.running[-1].cut()
        post.ended_at = simulation.history.tick()
        if fault is PostFault.KILLED_AFTER:
            raise ProcessKilled
        post.answer = _ANSWERS.get(fault, Posted.TAKEN)
        return post.answer

    def _record(self, connection: AgentConnection, commands: tuple[PostedCommand, ...]) -> Post:
        self._simulation.record_network_call()
        post = self._simulation.observer.post(connection, clock=self._simulation.clock.monotonic())
        attempts = {each.command_id: each.attempt for each in post.queue}
        post.commands = tuple(replace(each, attempt=attempts.get(each.command_id, 0)) for each in commands)
        if post.agent.lease:
            post.first_of_lease = post.agent.lease not in self._leases
            self._leases.add(post.agent.lease)
        if commands:
            self._simulation.history.posts.append(post)
        return post

    def is_live(self, connection_id: str) -> bool:
        """Tell whether a post can reach the connection."""
        self._simulation.record_network_call()
        return self.connections[connection_id].state == "open"

    def close(self, connection_id: str) -> None:
        """Close the connection; sometimes this has no effect."""
        simulation, connection = self._simulation, self.connections[connection_id]
        simulation.record_network_call()
        if simulation.choose((True, True, True, True, False)):
            self.cut(connection)
        else:
            simulation.record_fault(ActorFault.NOT_CLOSED, connection.agent_id)
        simulation.run_others(connection.agent_id)

    def cut(self, connection: AgentConnection) -> None:
        """End the gateway's side of a connection; its $disconnect event may follow."""
        if connection.state == "open":
            self.disconnects.append(connection)
        connection.state = "closed"


def decode_exactly(text: str) -> Any:
    """Decode JSON and keep every digit of its numbers."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def commands_of(message_text: str) -> Iterator[PostedCommand]:
    """Read the commands of a message, their attempts still 0; a cancel request has none."""
    message: dict[str, Any] = decode_exactly(message_text)
    entries: list[Any] = []
    if message["type"] == "command":
        entries = [message["payload"]]
    elif message["type"] == "commands":
        entries = message["commands"]
    for entry in entries:
        yield PostedCommand(
            command_id=entry["commandId"],
            attempt=0,
            action=entry["action"],
            payload=entry["payload"],
            named_attempt=int(entry["attempt"]) if "attempt" in entry else None,
        )
