"""A gateway that does to posts what a real one does, and to the process that posts what can happen meanwhile."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dispatcher.platform.gateway import Posted
from tests.simulation.agent_messages import confirmed_by
from tests.simulation.faulty_connection import ProcessKilled
from tests.simulation.history import Confirmation, Post, PostedCommand, StopPost
from tests.simulation.injected_faults import POST_FAULTS, ActorFault, PostFault

if TYPE_CHECKING:
    from tests.simulation.simulator import Simulation

POST_SECONDS = 0.02
"""How long a post takes, on the clock of the function that waits for it."""
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
    incarnation: int
    key_id: str | None
    batching: bool
    before: "AgentConnection | None"
    """The connection before it of the same agent, not of an earlier agent of the same id."""
    opened: float
    """When its handshake began, and later when it ended, in seconds on the simulated clock."""
    last_heartbeat: float
    state: str = "opening"
    """opening ($connect has not returned, and posts get 410), open, closed or refused."""
    half_open: bool = False
    """The agent is gone, but the gateway does not know it."""
    welcomed: bool = False
    """Whether the gateway took a welcome, or none is due."""
    spoke: bool = False
    """Whether the agent said anything over it."""
    heard: bool = False
    """Whether the dispatcher has settled anything of that: it may be lost, or kept in the queue."""
    commanded_at: float | None = None
    """When the first command was posted over it that may have arrived."""

    @property
    def healthy(self) -> bool:
        """Whether a post arrives."""
        return self.state == "open" and not self.half_open

    def silent_seconds(self, now: float) -> float:
        """Return how long the agent has said nothing since its first command over this connection; 0 if it said something."""
        return 0.0 if self.spoke or self.commanded_at is None else now - self.commanded_at

    def mute_before(self) -> int:
        """Return how many connections in a row before this one got commands and said nothing; 0 if this one said something."""
        count, connection = 0, self.before
        while not self.spoke and connection is not None and not connection.spoke:
            count += connection.commanded_at is not None
            connection = connection.before
        return count


class FaultyGateway:
    """Implements `dispatcher.platform.gateway.Gateway`; the history chooses what happens to each call."""

    def __init__(self, simulation: "Simulation") -> None:
        self.connections: dict[str, AgentConnection] = {}
        self.disconnects: list[AgentConnection] = []
        """Closed connections whose $disconnect event may still come."""
        self.told: set[tuple[str, str]] = set()
        """Connections and the commands that their agents were asked to stop over them."""
        self._simulation = simulation
        self._leases: set[str] = set()

    def open(self, agent_id: str, *, incarnation: int, key_id: str | None, batching: bool) -> AgentConnection:
        """Begin a handshake; the connection is open once $connect has returned."""
        now = self._simulation.clock.passed()
        earlier = [each for each in self.connections.values() if each.agent_id == agent_id and each.state != "refused"]
        same = [each for each in earlier if each.incarnation == incarnation]
        connection = AgentConnection(
            connection_id=f"c{len(self.connections) + 1}",
            agent_id=agent_id,
            incarnation=incarnation,
            key_id=key_id,
            batching=batching,
            before=same[-1] if same else None,
            opened=now,
            last_heartbeat=now,
            welcomed=not batching,
        )
        self.connections[connection.connection_id] = connection
        return connection

    def post(self, connection_id: str, frame: str) -> Posted:
        """Post one message."""
        simulation = self._simulation
        connection = self.connections[connection_id]
        message: dict[str, Any] = decode_exactly(frame)
        post = self._record(connection, message, tuple(commands_of(frame)))
        simulation.clock.sleep(POST_SECONDS)
        fault = simulation.choose(POST_FAULTS)
        if connection.state != "open" and fault in _NEEDS_OPEN_CONNECTION:
            fault = PostFault.GONE
        names = ", ".join(f"{each.action} (attempt {each.attempt})" for each in post.commands) or message["type"]
        simulation.log(f"post to {connection.agent_id} over {connection_id}: {names}: {fault}")
        if fault is not PostFault.NONE:
            simulation.record_fault(fault, connection.agent_id)
        if fault is PostFault.KILLED_BEFORE:
            raise ProcessKilled
        answer = self._pass_on(connection, message, post, fault)
        simulation.run_others(connection.agent_id)
        if fault is PostFault.DATABASE_LOST:
            simulation.running[-1].cut()
        post.ended_at = simulation.history.tick()
        if fault is PostFault.KILLED_AFTER:
            raise ProcessKilled
        post.answer = answer
        if answer is Posted.GONE and message["type"] != "welcome":
            simulation.history.posts_to_gone[connection_id] += 1
        return post.answer

    def _pass_on(self, connection: AgentConnection, message: dict[str, Any], post: Post, fault: PostFault) -> Posted:
        """Do to a message what the fault says; return the gateway's answer."""
        if fault is PostFault.GONE:
            self.cut(connection)
        if fault in _DELIVERED and connection.healthy:
            post.arrived = True
            self._simulation.agents.receive(connection, message, post.commands)
        answer = _ANSWERS.get(fault, Posted.TAKEN)
        if post.commands and connection.commanded_at is None and answer in {Posted.TAKEN, Posted.UNKNOWN}:
            connection.commanded_at = self._simulation.clock.passed()
        if answer is Posted.TAKEN:
            connection.welcomed |= message["type"] == "welcome"
            if message["type"] == "cancel" and fault is not PostFault.KILLED_AFTER:
                self.told.add((connection.connection_id, message["commandId"]))
        return answer

    def _record(
        self, connection: AgentConnection, message: dict[str, Any], commands: tuple[PostedCommand, ...]
    ) -> Post:
        simulation = self._simulation
        simulation.record_network_call()
        now = simulation.clock.passed()
        post = simulation.observer.post(connection, clock=simulation.clock.monotonic(), now=now)
        queue = {each.command_id: each for each in post.queue}
        post.commands = tuple(
            replace(each, attempt=queue[each.command_id].attempt, claim=queue[each.command_id].claim)
            if each.command_id in queue
            else each
            for each in commands
        )
        if commands:
            # Where one command at a time is in flight, there is no lease, and each post has a claim of its own.
            lease = post.agent.lease
            post.first_of_claim = post.agent.mode == "acknowledging" or bool(lease and lease not in self._leases)
            self._leases.add(lease or "")
            simulation.history.posts.append(post)
        elif message["type"] == "cancel":
            simulation.history.stops.append(
                StopPost(
                    agent_id=connection.agent_id,
                    connection_id=connection.connection_id,
                    command_id=message["commandId"],
                    incarnation=connection.incarnation,
                    welcomed=connection.welcomed,
                    command=simulation.observer.commands().get(message["commandId"]),
                )
            )
        for message_id in confirmed_by(message):
            said = simulation.agents.messages[message_id]
            simulation.history.confirmations.append(
                Confirmation(text=said.text, settled=bool(said.settled), welcomed=connection.welcomed)
            )
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
    """Read the commands of a message, their attempts still 0; any other message has none."""
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
