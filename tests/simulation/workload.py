"""The operations of a history: what agents, operators and faults do, in an order that the choices decide."""

from typing import TypeVar

from tests.simulation.agent_messages import REPORT_KINDS
from tests.simulation.choices import Choices
from tests.simulation.injected_faults import ActorFault
from tests.simulation.simulated_agents import HANDSHAKES
from tests.simulation.simulator import Simulation

T = TypeVar("T")
STEPS = 10
AGENTS = ("k8s", "batch", "docker", "k8s")
MEANINGLESS_MESSAGES = (
    "",
    "null",
    "[]",
    '{"type": "ack"}',
    '{"type": "reports", "reports": [1]}',
    "\x00",
    '{"type": "complete", "payload": {}}',
)


class Workload:
    """Plays the operations of one history."""

    def __init__(self, simulation: Simulation, choices: Choices) -> None:
        self.simulation = simulation
        self._choices = choices
        self._choose = simulation.choose
        simulation.during_call = self._during_call

    def play(self) -> None:
        """Play the whole history."""
        self._choices.begin_step()
        reconnecting = self._begin()
        operations = (
            self.simulation.sweep,
            self._submit,
            self._submit_list,
            self._insert,
            self._cancel_or_redrive,
            self._connect,
            self._invoke_event,
            self._lose_connection,
            self._report,
            self._send_other,
            self._pass_time,
            self._change_access,
            self._bring_late_reports,
            self._resume_or_say_again,
        )
        for _ in range(self._choices.steps_left(STEPS)):
            self._choices.begin_step()
            self._choose(operations)()
        self.simulation.finish(reconnecting)

    def _begin(self) -> set[str]:
        """Connect some agents and submit some commands; return the agents that reconnect at the end."""
        for agent_id in HANDSHAKES:
            if self._choose((False, True, True, True)):
                self.simulation.faults_enabled = False
                self.simulation.agents.connect(agent_id)
                self.simulation.agents.flush(self.simulation.agents.flush_requests.pop())
                self.simulation.faults_enabled = True
        for _ in range(self._choose((0, 1, 2, 3, 4))):
            self.simulation.operators.submit(self._choose(AGENTS))
        return {agent_id for agent_id in HANDSHAKES if self._choose((False, True, True))}

    # ── Operations ────────────────────────────────────────────────────────────────────────────────────────────────────
    def _submit(self) -> None:
        self.simulation.operators.submit(self._choose(AGENTS))

    def _submit_list(self) -> None:
        """Submit a list; none of it is accepted if one agent is unknown."""
        agent_id = self._choose(AGENTS)
        self.simulation.operators.submit_list([agent_id, self._choose((agent_id, *AGENTS, "nobody")), agent_id])

    def _insert(self) -> None:
        self.simulation.operators.insert(self._choose(AGENTS))

    def _cancel_or_redrive(self) -> None:
        operators = self.simulation.operators
        if operators.known:
            command = self._choose_latest(operators.known)
            self._choose((operators.cancel, operators.redrive))(command)

    def _connect(self) -> None:
        """Connect an agent; flush may be invoked, lost, or invoked twice; an agent of protocol 2 may speak first."""
        agents, agent_id = self.simulation.agents, self._choose(AGENTS)
        before = len(agents.flush_requests)
        agents.connect(agent_id)
        if agent_id == "batch" and len(agents.flush_requests) > before and self._choose((False, True)):
            self._resume_or_say_again()
        if len(agents.flush_requests) > before and self._choose((True, True, False)):
            request = agents.flush_requests.pop()
            agents.flush(request)
            if self._choose((False, True)):
                agents.flush_requests.append(request)

    def _invoke_event(self) -> None:
        """Run an outstanding flush and $disconnect; each may be lost, or come twice."""
        agents, disconnects = self.simulation.agents, self.simulation.gateway.disconnects
        if agents.flush_requests:
            request = self._choose_latest(agents.flush_requests)
            if self._choose((True, True, False)):
                agents.flush(request)
            if self._choose((True, True, False)) and request in agents.flush_requests:
                agents.flush_requests.remove(request)
        if disconnects:
            connection = self._choose_latest(disconnects)
            agents.disconnect(connection)
            if self._choose((True, True, False)) and connection in disconnects:
                disconnects.remove(connection)

    def _lose_connection(self) -> None:
        """Cut an agent's connection, or crash the agent."""
        agents, agent_id = self.simulation.agents, self._choose(AGENTS)
        how = self._choose(("cut", "crash", "unnoticed crash", "mute"))
        if how == "mute":
            agents.go_mute(agent_id)
        elif how != "cut":
            agents.crash(agent_id, half_open=how == "unnoticed crash")
        elif connections := agents.connections(agent_id):
            self.simulation.log(f"{agent_id}'s {connections[0].connection_id} is cut")
            self.simulation.record_fault(ActorFault.CONNECTION_CUT, agent_id)
            self.simulation.gateway.cut(connections[0])

    def _report(self, agent_id: str | None = None) -> None:
        """Report on something that reached an agent, now or long ago."""
        agents = self.simulation.agents
        agent_id = agent_id or self._choose(AGENTS)
        if memory := agents.memory[agent_id]:
            command = self._choose_latest(memory)
            connections = agents.connections(agent_id)
            connection = self._choose((connections[0], connections[0], *connections))
            agents.report(connection, command, self._choose(REPORT_KINDS[agent_id]))

    def _send_other(self) -> None:
        """Send a heartbeat, a message without meaning, or a report about another agent's command."""
        agents = self.simulation.agents
        agent_id, other = self._choose((("k8s", "batch"), ("batch", "docker"), ("docker", "k8s")))
        if not (connections := agents.connections(agent_id)):
            return
        connection = self._choose(connections)
        how = self._choose(("heartbeat", "meaningless", "forged"))
        if how == "heartbeat":
            agents.heartbeat(connection)
        elif how == "meaningless":
            agents.send(connection, self._choose(MEANINGLESS_MESSAGES))
        elif memory := agents.memory[other]:
            agents.report(connection, self._choose_latest(memory), self._choose(REPORT_KINDS[agent_id]))

    def _pass_time(self) -> None:
        self.simulation.pass_time(self._choose((1, 7, 25, 61, 130, 400, 700, 4000)))

    def _change_access(self) -> None:
        """Approve or reject an agent, issue or revoke its key, or delete it and create another with its id."""
        how, agent_id = self._choose(("approved", "rejected", "key", "key", "deleted", "deleted")), self._choose(AGENTS)
        operators = self.simulation.operators
        if agent_id in self.simulation.agents.deleted:
            operators.create(agent_id)
        elif how == "key":
            operators.change_key(agent_id)
        elif how == "deleted":
            operators.delete(agent_id)
            if self._choose((True, False)):
                operators.create(agent_id)
        else:
            self.simulation.operators.set_approval(agent_id, how)

    def _bring_late_reports(self) -> None:
        """Bring messages that were kept while the database was away."""
        self.simulation.late_queue.bring(self._choose((1, 2, 3)))

    def _resume_or_say_again(self) -> None:
        """Have the agent of protocol 2 say what it executes, or what is not confirmed."""
        agents = self.simulation.agents
        if connections := agents.connections("batch"):
            self._choose((agents.resume, agents.say_again))(connections[0])

    def _during_call(self, agent_id: str) -> None:
        """Do something while a function waits for the network."""
        simulation = self.simulation
        what = self._choose(
            ("",) * 14 + ("submit", "report", "connect", "$disconnect", "sweep", "cancel", "6 s", "31 s")
        )
        if not what:
            return
        simulation.log(f"during the call: {what}")
        match what:
            case "submit":
                simulation.operators.submit(agent_id)
            case "report":
                self._report(agent_id)
            case "connect":
                simulation.agents.connect(agent_id)
            case "$disconnect" if simulation.gateway.disconnects:
                simulation.agents.disconnect(simulation.gateway.disconnects.pop())
            case "sweep":
                simulation.sweep()
            case "cancel" if simulation.operators.known:
                simulation.operators.cancel(simulation.operators.known[-1])
            case "6 s" | "31 s":
                simulation.pass_time(int(what.removesuffix(" s")))
            case _:
                pass

    def _choose_latest(self, things: list[T]) -> T:
        """Choose one of the things; the ordinary case is the latest."""
        return self._choose(tuple(reversed(things)))
