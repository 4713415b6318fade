"""Simulated agents: they remember what reached them, and report it correctly, late, twice, over an old connection or not."""

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dispatcher.agents import connections
from dispatcher.agents.connections import Opened, Origin
from dispatcher.commands import conversation, flush
from dispatcher.commands.flush import FlushRequest
from dispatcher.platform import database
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode, Handshake
from dispatcher.protocol.said import Said
from dispatcher.sessions.session_records import SessionStates
from tests.simulation.agent_messages import (
    CORRECT_REPORTS,
    Meaning,
    confirmed_by,
    is_numbered,
    kinds_of,
    message_of,
    resume_of,
)
from tests.simulation.faulty_gateway import AgentConnection
from tests.simulation.history import PostedCommand, SaidMessage
from tests.simulation.injected_faults import AWAY, ActorFault

if TYPE_CHECKING:
    from tests.simulation.simulator import Simulation

HANDSHAKES = {"k8s": Handshake(), "docker": Handshake(), "batch": Handshake(mode=DeliveryMode.BATCHING, window=3)}


@dataclass(slots=True)
class SimulatedAgents:
    """All the agents of one history."""

    simulation: "Simulation"
    memory: dict[str, list[PostedCommand]] = field(default_factory=lambda: {agent_id: [] for agent_id in HANDSHAKES})
    """What reached each agent, until it crashes."""
    executing: dict[str, int] = field(default_factory=dict[str, int])
    """What the agent of protocol 2 executes, until it crashes: commands and attempts."""
    outbox: list[tuple[str, Meaning]] = field(default_factory=list[tuple[str, Meaning]])
    """What the agent of protocol 2 said and the service has not confirmed; it survives a crash."""
    mute: set[str] = field(default_factory=set[str])
    """Agents that execute, but say nothing until they crash."""
    flush_requests: list[FlushRequest] = field(default_factory=list[FlushRequest])
    """Invocations of flush that may still happen, or happen again."""
    sessions: dict[str, str | None] = field(default_factory=dict[str, str | None])
    """The session of each action: an agent that never acknowledges names it in its answer."""
    key_ids: dict[str, str | None] = field(default_factory=dict[str, str | None])
    """The keys that agents connect with; None: the key was revoked."""
    incarnations: dict[str, int] = field(default_factory=lambda: dict.fromkeys(HANDSHAKES, 1))
    """Counts the agents that had each id."""
    deleted: set[str] = field(default_factory=set[str])
    answered: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    messages: dict[str, SaidMessage] = field(default_factory=dict[str, SaidMessage])
    """Messages with reports, by their numbers."""
    _meanings: dict[str, tuple[Meaning, SaidMessage]] = field(default_factory=dict[str, tuple[Meaning, SaidMessage]])
    _events: int = 0
    _said_at: int = 0
    """When the gateway received the last message; each message has a time of its own."""

    def receive(
        self, connection: AgentConnection, message: dict[str, Any], commands: tuple[PostedCommand, ...]
    ) -> None:
        """Remember commands that arrived; keep no report that is confirmed."""
        if connection.incarnation == self.incarnations[connection.agent_id]:
            self.memory[connection.agent_id] += commands
        for message_id in confirmed_by(message):
            text = self.messages[message_id].text
            self.outbox = [(kept, meaning) for kept, meaning in self.outbox if kept != text]

    def connections(self, agent_id: str) -> tuple[AgentConnection, ...]:
        """Return an agent's connections, the newest first."""
        newest_first = reversed(self.simulation.gateway.connections.values())
        return tuple(each for each in newest_first if each.agent_id == agent_id)

    # ── Connections ───────────────────────────────────────────────────────────────────────────────────────────────────
    def connect(self, agent_id: str) -> None:
        """Connect; $connect may come twice or after its own $disconnect, and the agent may give up before it has returned."""
        simulation = self.simulation
        key_id = self.key_ids.get(agent_id)
        if key_id is None:
            simulation.log(f"{agent_id} has no key")
            return
        connection = simulation.gateway.open(
            agent_id, incarnation=self.incarnations[agent_id], key_id=key_id, batching=agent_id == "batch"
        )
        simulation.record_fault(ActorFault.RECONNECTS, agent_id)
        how = simulation.choose(("", "", "", "", "event twice", "disconnect event first", "given up"))
        simulation.log(f"{agent_id} connects as {connection.connection_id}" + (f", {how}" if how else ""))
        if how == "disconnect event first":
            self.disconnect(connection)
        opened = self._connect_event(connection)
        if how == "event twice" and opened:
            opened = self._connect_event(connection)
        simulation.run_others(agent_id)
        if opened is None:
            connection.state = "refused"
        elif connection.state == "opening" and how in {"disconnect event first", "given up"}:
            connection.state = "closed"
            if how == "given up":
                simulation.gateway.disconnects.append(connection)
        elif connection.state == "opening":
            connection.state, connection.opened = "open", simulation.clock.passed()
            self.flush_requests.append(FlushRequest.of_new(agent_id, connection.connection_id, opened))

    def _connect_event(self, connection: AgentConnection) -> Opened | None:
        def function(_conn: Connection) -> Opened | None:
            opened = database.persistently(
                lambda conn: connections.open_connection(
                    conn,
                    connection.agent_id,
                    connection.connection_id,
                    handshake=HANDSHAKES[connection.agent_id],
                    origin=Origin(key_id=connection.key_id),
                )
            )
            if opened is not None:
                connections.close_superseded(self.simulation.gateway, opened)
            return opened

        return self.simulation.run("$connect", function).value

    def flush(self, request: FlushRequest) -> None:
        """Invoke flush."""
        simulation = self.simulation
        simulation.log(f"flush for {request.agent_id}, connection {request.connection_id}")
        simulation.run("flush", lambda conn: flush.flush(conn, simulation.gateway, request, simulation.deadline()))

    def flush_agents(self, agent_ids: list[str]) -> None:
        """Invoke flush for the agents of a list of commands."""
        simulation = self.simulation
        simulation.log(f"flush for {', '.join(agent_ids)}")
        simulation.run(
            "flush", lambda conn: flush.flush_agents(conn, simulation.gateway, agent_ids, simulation.deadline())
        )

    def disconnect(self, connection: AgentConnection) -> None:
        """Handle a connection's $disconnect event."""
        agent_id, connection_id = connection.agent_id, connection.connection_id
        self.simulation.log(f"$disconnect of {agent_id}'s {connection_id}")
        with self.simulation.recorder.event(agent_id, connection_id, "$disconnect"):
            self.simulation.run(
                "$disconnect",
                lambda _: database.persistently(lambda conn: connections.forget(conn, agent_id, connection_id)),
            )

    def crash(self, agent_id: str, *, half_open: bool) -> None:
        """Lose the agent's memory and its connections; half-open: the gateway does not notice."""
        self.simulation.log(f"{agent_id} crashes" + (", and its connection stays half-open" if half_open else ""))
        self.simulation.record_fault(ActorFault.CRASHES, agent_id)
        self.forget(agent_id)
        for connection in self.connections(agent_id):
            connection.half_open = True
            if not half_open:
                self.simulation.gateway.cut(connection)

    def forget(self, agent_id: str) -> None:
        """Lose what the process of an agent knows."""
        self.mute.discard(agent_id)
        self.memory[agent_id].clear()
        if agent_id == "batch":
            self.executing.clear()

    def go_mute(self, agent_id: str) -> None:
        """Say nothing any more."""
        self.simulation.log(f"{agent_id} goes mute")
        self.simulation.record_fault(ActorFault.GOES_MUTE, agent_id)
        self.mute.add(agent_id)

    # ── Messages ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def heartbeat(self, connection: AgentConnection) -> None:
        """Send a heartbeat."""
        if connection.state == "open":
            connection.last_heartbeat = self.simulation.clock.passed()
        self.send(connection, json.dumps({"type": "heartbeat", "payload": {"activeSessions": 1}}))

    def send(self, connection: AgentConnection, text: str) -> None:
        """Send a message that reports no command."""
        if connection.agent_id in self.mute:
            return
        self.simulation.log(f"{connection.agent_id} over {connection.connection_id}: {text[:70]}")
        self._message_event(connection, text)

    def report(self, connection: AgentConnection, command: PostedCommand, kind: str) -> None:
        """Report on a command over one of the agent's connections; both may be old, and the command another agent's."""
        agent_id = connection.agent_id
        if agent_id in self.mute:
            return
        session_id = self.sessions.get(command.action)
        if session_id is None and "answer" in kind:
            kind = "command_error"
        by_session = session_id if "answer" in kind else None
        meaning = Meaning(
            kinds=kinds_of(kind),
            command_id=None if by_session else command.command_id,
            attempt=command.attempt if is_numbered(kind) else None,
            session_id=by_session,
        )
        text = message_of(command, kind, session_id, len(self.messages))
        if is_numbered(kind):
            self.outbox.append((text, meaning))
            if meaning.kinds == ("ack",):
                self.executing[command.command_id] = command.attempt
            elif "progress" not in meaning.kinds:
                self.executing.pop(command.command_id, None)
        self.simulation.log(
            f"{agent_id} over {connection.connection_id}: {kind} of {command.action} ({command.attempt})"
        )
        self._say(connection, text, meaning)

    def resume(self, connection: AgentConnection) -> None:
        """Say what the agent of protocol 2 executes."""
        if connection.agent_id in self.mute:
            return
        self.simulation.log(f"batch over {connection.connection_id}: executes {len(self.executing)} commands")
        self.simulation.record_fault(ActorFault.RESUMES, connection.agent_id)
        text = resume_of(self.executing, len(self.messages))
        self._say(connection, text, Meaning(running=dict(self.executing)))

    def say_again(self, connection: AgentConnection) -> None:
        """Say again what is not confirmed."""
        if connection.agent_id in self.mute:
            return
        for text, meaning in tuple(self.outbox):
            self.simulation.log(f"batch over {connection.connection_id}: says again {' and '.join(meaning.kinds)}")
            self._say(connection, text, meaning)

    def message_with(self, text: str) -> tuple[Meaning, SaidMessage] | None:
        """Return what a message with reports says, and what became of it; None for any other text."""
        return self._meanings.get(text)

    def _say(self, connection: AgentConnection, text: str, meaning: Meaning) -> None:
        if text not in self._meanings:
            message = SaidMessage(agent_id=connection.agent_id, text=text)
            self._meanings[text] = meaning, message
            self.messages[str(len(self.messages))] = message
            self.simulation.history.said.append(message)
        away = self.simulation.choose(AWAY)
        if away:
            self.simulation.record_fault(ActorFault.DATABASE_AWAY, connection.agent_id)
        self.simulation.database_away = away
        taken = self._message_event(connection, text)
        self.simulation.database_away = False
        self._meanings[text][1].taken |= taken

    def _message_event(self, connection: AgentConnection, text: str) -> bool:
        """Handle a message; return whether the function ran to its end."""
        simulation = self.simulation
        connection.spoke = True
        self._events += 1
        event_id = f"event-{self._events}"
        self._said_at = max(self._said_at + 1, int(time.time() * 1000))
        said = Said(
            agent_id=connection.agent_id,
            connection_id=connection.connection_id,
            text=text,
            key_id=connection.key_id,
            event_id=event_id,
            said_at=self._said_at,
        )
        return simulation.run(
            "message",
            lambda _: conversation.handle(said, event_id, simulation.gateway, SessionStates(), simulation.deadline()),
        ).returned

    def answer_everything(self, agent_ids: list[str]) -> None:
        """Report correctly on everything that reached these agents."""
        for agent_id in agent_ids:
            connection = self.connections(agent_id)[0]
            if agent_id == "batch":
                self.say_again(connection)
            for command in self.memory[agent_id]:  # grows meanwhile
                if (command.command_id, command.attempt) not in self.answered:
                    self.answered.add((command.command_id, command.attempt))
                    for kind in CORRECT_REPORTS[agent_id]:
                        self.report(connection, command, kind)
