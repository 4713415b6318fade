"""Simulated agents: they remember what reached them, and report it correctly, late, twice, over an old connection or not."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

from dispatcher.agents import presence
from dispatcher.agents.connections import Origin
from dispatcher.commands import flush, reconnection, reports
from dispatcher.commands.delivery import deliver
from dispatcher.commands.flush import FlushRequest
from dispatcher.protocol.handshake import DeliveryMode, Handshake
from tests.rows import receive
from tests.simulation.faulty_gateway import AgentConnection
from tests.simulation.history import AgentReport, AgentRow, CommandRow, ConnectionEvent, PostedCommand
from tests.simulation.injected_faults import ActorFault

if TYPE_CHECKING:
    from tests.simulation.simulator import Simulation

HANDSHAKES = {"k8s": Handshake(), "docker": Handshake(), "batch": Handshake(mode=DeliveryMode.BATCHING, window=3)}
REPORT_KINDS = {
    "k8s": ("ack", "complete", "ack", "failed"),
    "docker": ("answer", "answer", "failed answer", "command_error"),
    "batch": ("both", *(f"report {kind}" for kind in ("ack", "complete", "progress", "failed", "retry", "cancelled"))),
}
CORRECT_REPORTS = {"k8s": ("ack", "complete"), "docker": ("answer",), "batch": ("both",)}
_MEANING = {"both": "complete", "answer": "complete", "failed answer": "failed", "command_error": "failed"}
_UNDER_WAY = ("sent", "acknowledged", "timed_out")


@dataclass(slots=True)
class LogCounter:
    """Replaces the logger of reports, and counts what is logged."""

    successes: int = 0
    warnings: int = 0

    def info(self, _message: str, **_fields: Any) -> None:
        """Count a report that is logged as having moved a command."""
        self.successes += 1

    def warning(self, _message: str, **_fields: Any) -> None:
        """Count a report that is logged as having had no effect."""
        self.warnings += 1


@dataclass(slots=True)
class SimulatedAgents:
    """All the agents of one history."""

    simulation: "Simulation"
    memory: dict[str, list[PostedCommand]] = field(default_factory=lambda: {agent_id: [] for agent_id in HANDSHAKES})
    """What reached each agent, until it crashes."""
    flush_requests: list[FlushRequest] = field(default_factory=list[FlushRequest])
    """Invocations of flush that may still happen, or happen again."""
    sessions: dict[str, str | None] = field(default_factory=dict[str, str | None])
    """The session of each action: an agent that never acknowledges names it in its answer."""
    key_ids: dict[str, str] = field(default_factory=dict[str, str])
    """The keys that agents connect with, if they have one."""
    answered: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])

    def receive(self, connection: AgentConnection, commands: tuple[PostedCommand, ...]) -> None:
        """Remember commands that arrived."""
        self.memory[connection.agent_id] += commands

    def connections(self, agent_id: str) -> tuple[AgentConnection, ...]:
        """Return an agent's connections, the newest first."""
        connections = reversed(self.simulation.gateway.connections.values())
        return tuple(each for each in connections if each.agent_id == agent_id)

    # ── Connections ───────────────────────────────────────────────────────────────────────────────────────────────────
    def connect(self, agent_id: str) -> None:
        """Connect; $connect may come twice or after its own $disconnect, and the agent may give up before it has returned."""
        simulation = self.simulation
        connection = simulation.gateway.open(agent_id)
        simulation.record_fault(ActorFault.RECONNECTS, agent_id)
        how = simulation.choose(("", "", "", "", "event twice", "disconnect event first", "given up"))
        simulation.log(f"{agent_id} connects as {connection.connection_id}" + (f", {how}" if how else ""))
        if how == "disconnect event first":
            self.disconnect(connection)
        request = self._connect_event(connection)
        if how == "event twice" and request:
            request = self._connect_event(connection)
        simulation.run_others(agent_id)
        if request is None:
            connection.state = "refused"
        elif connection.state == "opening" and how in {"disconnect event first", "given up"}:
            connection.state = "closed"
            if how == "given up":
                simulation.gateway.disconnects.append(connection)
        elif connection.state == "opening":
            connection.state, connection.opened = "open", simulation.clock.monotonic()
            self.flush_requests.append(request)

    def _connect_event(self, connection: AgentConnection) -> FlushRequest | None:
        origin = Origin(key_id=self.key_ids.get(connection.agent_id))
        return self.simulation.run(
            "$connect",
            lambda conn: reconnection.record_connection(
                conn,
                self.simulation.gateway,
                connection.agent_id,
                connection.connection_id,
                handshake=HANDSHAKES[connection.agent_id],
                origin=origin,
            ),
            retried=True,
        ).value

    def flush(self, request: FlushRequest) -> None:
        """Invoke flush."""
        simulation = self.simulation
        simulation.log(f"flush for {request.agent_id}, connection {request.connection_id}")
        simulation.run("flush", lambda conn: flush.flush(conn, simulation.gateway, request, simulation.deadline()))

    def disconnect(self, connection: AgentConnection) -> None:
        """Handle a connection's $disconnect event."""
        agent_id, connection_id = connection.agent_id, connection.connection_id
        self.simulation.log(f"$disconnect of {agent_id}'s {connection_id}")
        before, epoch = self._before_event(connection)
        self.simulation.run(
            "$disconnect", lambda conn: presence.record_disconnect(conn, agent_id, connection_id), retried=True
        )
        self._record_event(connection, "$disconnect", epoch, before)

    def _before_event(self, connection: AgentConnection) -> tuple[AgentRow, int]:
        observer = self.simulation.observer
        return observer.agent(connection.agent_id), observer.epoch_of(connection.agent_id, connection.connection_id)

    def _record_event(self, connection: AgentConnection, kind: str, epoch: int, before: AgentRow) -> None:
        self.simulation.history.connection_events.append(
            ConnectionEvent(
                agent_id=connection.agent_id,
                connection_id=connection.connection_id,
                kind=kind,
                epoch=epoch,
                before=before,
                after=self.simulation.observer.agent(connection.agent_id),
            )
        )

    def crash(self, agent_id: str, *, half_open: bool) -> None:
        """Lose the agent's memory and its connections; half-open: the gateway does not notice."""
        self.simulation.log(f"{agent_id} crashes" + (", and its connection stays half-open" if half_open else ""))
        self.simulation.record_fault(ActorFault.CRASHES, agent_id)
        self.memory[agent_id].clear()
        for connection in self.connections(agent_id):
            connection.half_open = True
            if not half_open:
                self.simulation.gateway.cut(connection)

    # ── Messages ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def heartbeat(self, connection: AgentConnection, *, then_deliver: bool = True) -> None:
        """Send a heartbeat."""
        if connection.state == "open":
            connection.last_heartbeat = self.simulation.clock.monotonic()
        text = json.dumps({"type": "heartbeat", "payload": {"activeSessions": 1}})
        self.send(connection, text, then_deliver=then_deliver)

    def send(self, connection: AgentConnection, text: str, *, then_deliver: bool = True) -> None:
        """Send a message that reports no command."""
        self.simulation.log(f"{connection.agent_id} over {connection.connection_id}: {text[:70]}")
        before, epoch = self._before_event(connection)
        _, moved = self._message_event(connection, text)
        self._record_event(connection, "message", epoch, before)
        if moved and then_deliver:
            self._deliver(connection.agent_id)

    def report(self, connection: AgentConnection, command: PostedCommand, kind: str) -> None:
        """Report on a command over one of the agent's connections; both may be old, and the command another agent's."""
        simulation, agent_id = self.simulation, connection.agent_id
        session_id = self.sessions.get(command.action)
        if session_id is None and "answer" in kind:
            kind = "command_error"
        names_session = session_id if "answer" in kind else None
        simulation.log(f"{agent_id} over {connection.connection_id}: {kind} of {command.action} ({command.attempt})")
        before = simulation.observer.commands()
        state, epoch = self._before_event(connection)
        command_id: str | None = command.command_id
        if names_session is not None:
            last_epoch = state.epoch - (state.connection_id is not None) if epoch < 0 else epoch
            command_id = _first_of_session(before, agent_id, names_session, last_epoch)
        logged = LogCounter()
        with mock.patch.object(reports, "logger", logged):
            finished, moved = self._message_event(connection, message_of(command, kind, session_id))
        after = simulation.observer.commands()
        simulation.history.reports.append(
            AgentReport(
                agent_id=agent_id,
                kind=_MEANING.get(kind, kind.removeprefix("report ")),
                attempt=command.attempt if kind == "both" or kind.startswith("report ") else None,
                epoch=epoch,
                command_id=command_id,
                before=before.get(command_id or ""),
                after=after.get(command_id or ""),
                others_changed=tuple(
                    other for other in before if other != command_id and before[other] != after.get(other)
                ),
                finished=finished,
                logged_success=logged.successes > 0,
                logged_warning=logged.warnings > 0,
            )
        )
        if moved:
            self._deliver(agent_id)

    def _message_event(self, connection: AgentConnection, text: str) -> tuple[bool, bool]:
        """Handle a message; return whether the function ran to its end, and whether the agent's queue may have moved."""
        outcome = self.simulation.run(
            "message", lambda conn: receive(conn, connection.agent_id, connection.connection_id, text), retried=True
        )
        return outcome.returned, bool(outcome.value)

    def _deliver(self, agent_id: str) -> None:
        simulation = self.simulation
        simulation.run("delivery", lambda conn: deliver(conn, simulation.gateway, agent_id, simulation.deadline()))

    def answer_everything(self, agent_ids: list[str]) -> None:
        """Report correctly on everything that reached these agents."""
        for agent_id in agent_ids:
            connection = self.connections(agent_id)[0]
            for command in self.memory[agent_id]:  # grows meanwhile
                if (command.command_id, command.attempt) not in self.answered:
                    self.answered.add((command.command_id, command.attempt))
                    for kind in CORRECT_REPORTS[agent_id]:
                        self.report(connection, command, kind)


def message_of(command: PostedCommand, kind: str, session_id: str | None) -> str:
    """Write an agent's message about a command, in the protocol that this kind belongs to."""
    named = {"commandId": command.command_id}
    numbered = {**named, "attempt": command.attempt}
    failed = {"error": "why"}
    if kind == "both":
        done = {"kind": "complete", **numbered, "result": {"n": 1}}
        return json.dumps({"type": "reports", "reports": [{"kind": "ack", **numbered}, done]})
    if kind == "report retry":
        return json.dumps({"type": "reports", "reports": [{"kind": "failed", **numbered, **failed, "retryable": True}]})
    if kind.startswith("report "):
        fields = {"kind": kind.removeprefix("report "), **numbered, **failed, "result": 1, "progress": 1}
        return json.dumps({"type": "reports", "reports": [fields]})
    if kind == "command_error":
        return json.dumps({"type": kind, **named, **failed})
    if kind in {"answer", "failed answer"}:
        answer = {"type": "command_response", "sessionId": session_id, "success": kind == "answer"}
        return json.dumps(answer if kind == "answer" else {**answer, **failed})
    return json.dumps({"type": kind, "payload": {**named, **failed, "result": 1}})


def _first_of_session(commands: dict[str, CommandRow], agent_id: str, session_id: str, last_epoch: int) -> str | None:
    """Return the command that an answer of a session means: the first that was sent over this connection or an older one."""
    found = [
        (command.status == "timed_out", command.seq, command_id)
        for command_id, command in commands.items()
        if command.agent_id == agent_id
        and command.session_id == session_id
        and command.status in _UNDER_WAY
        and command.first_epoch is not None
        and command.first_epoch <= last_epoch
    ]
    return min(found)[2] if found else None
