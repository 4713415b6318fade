"""The state machine that Hypothesis plays: what everybody may do, in any order, with any fault."""

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.simulation.agents import HANDSHAKES, KINDS, SimulatedAgents
from tests.simulation.connection import FragileConnection
from tests.simulation.drain import drain
from tests.simulation.invariants import check_all
from tests.simulation.laboratory import Laboratory
from tests.simulation.operators import Operators
from tests.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = st.data()
AGENTS = ("k8s", "batch", "docker", "k8s")
GARBAGE = (
    "",
    "null",
    "[]",
    '{"type": "ack"}',
    '{"type": "reports", "reports": [1]}',
    "\x00",
    '{"type": "complete", "payload": {}}',
)
_PICKS = {count: st.sampled_from(range(count)) for count in range(1, 400)}


class Tally:
    """What occurred in all histories so far."""

    def __init__(self) -> None:
        self.histories = 0
        self.commands = 0
        self.deliveries = 0
        self.rules: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.checks: Counter[str] = Counter()
        self.failing: list[str] | None = None
        """The last history that broke an invariant: after shrinking, the shortest."""
        self.lines: list[str] = []
        """The history that is being played."""
        self.on_history: Callable[[], None] = lambda: None


class Histories(RuleBasedStateMachine):
    """One history; its class knows the laboratory, whose environments are kept from one history to the next."""

    laboratory: Laboratory
    environments: list[FragileConnection]
    tally: Tally

    def __init__(self) -> None:
        super().__init__()
        self.laboratory.reset()
        for conn in self.environments:
            if not conn.struck:
                conn.execute("select setseed(0.5)")
        self.world = World(self.laboratory, self.environments)
        self.tally.lines = self.world.lines
        self.agents = SimulatedAgents(self.world)
        self.operators = Operators(self.world, self.agents)
        self.world.between = self._between
        self._patches = ExitStack()
        self._patches.enter_context(self.world.enter())

    def _begin(self, data: st.DataObject, name: str) -> None:
        self.world.pick = lambda count: data.draw(_PICKS[count])
        self.tally.rules[name] += 1

    # ── Rules ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    @initialize(data=DATA)
    def begin(self, data: st.DataObject) -> None:
        """Begin with some agents connected, and some commands in their queues."""
        self._begin(data, "begin")
        for agent_id in HANDSHAKES:
            if self.world.pick(4):
                self.world.calm = True
                self.agents.connect(agent_id)
                self.agents.flush(self.agents.flushes.pop())
                self.world.calm = False
        for _ in range(self.world.pick(5)):
            self.operators.submit(self.world.choose(AGENTS))

    @rule(data=DATA)
    def submit(self, data: st.DataObject) -> None:
        """Submit a command."""
        self._begin(data, "submit")
        self.operators.submit(self.world.choose(AGENTS))

    @rule(data=DATA)
    def submit_many(self, data: st.DataObject) -> None:
        """Submit a list of commands; with an agent that is unknown, none is accepted."""
        self._begin(data, "submit a list")
        agent_id = self.world.choose(AGENTS)
        self.operators.submit_many([agent_id, self.world.choose((agent_id, *AGENTS, "nobody")), agent_id])

    @rule(data=DATA)
    def insert(self, data: st.DataObject) -> None:
        """Insert a row with psql."""
        self._begin(data, "insert with psql")
        self.operators.insert(self.world.choose(AGENTS))

    @rule(data=DATA)
    def change_mind(self, data: st.DataObject) -> None:
        """Cancel or redrive a command."""
        if self.operators.known:
            command = self._one(data, self.operators.known)
            if self.world.choose((True, False)):
                self._begin(data, "cancel")
                self.operators.cancel(command)
            else:
                self._begin(data, "redrive")
                self.operators.redrive(command)

    @rule(data=DATA)
    def connect(self, data: st.DataObject) -> None:
        """Let an agent connect."""
        self._begin(data, "connect")
        before = len(self.agents.flushes)
        self.agents.connect(self.world.choose(AGENTS))
        handed_over = len(self.agents.flushes) > before
        if handed_over and self.world.choose((True, True, False)):
            event = self.agents.flushes.pop()
            self.agents.flush(event)
            if self.world.choose((False, True)):
                self.agents.flushes.append(event)

    @rule(data=DATA)
    def events(self, data: st.DataObject) -> None:
        """Handle a flush or a $disconnect event, which may come again; or lose it."""
        if self.agents.flushes and (event := self._one(data, self.agents.flushes)):
            self._begin(data, "flush")
            if self.world.choose((True, True, False)):
                self.agents.flush(event)
            if self.world.choose((True, True, False)):
                self.agents.flushes.remove(event)
        if self.world.closings and (socket := self._one(data, self.world.closings)):
            self._begin(data, "$disconnect")
            self.agents.closed(socket)
            if self.world.choose((True, True, False)):
                self.world.closings.remove(socket)

    @rule(data=DATA)
    def lose_link(self, data: st.DataObject) -> None:
        """Cut an agent's socket, or crash it."""
        self._begin(data, "cut or crash")
        agent_id = self.world.choose(AGENTS)
        how = self.world.choose(("cut", "crash", "unnoticed"))
        if how != "cut":
            self.agents.crash(agent_id, half_open=how == "unnoticed")
        elif sockets := self.agents.sockets(agent_id):
            self.world.say(f"{agent_id}'s {sockets[0].connection_id} is cut")
            self.world.trouble("gateway: socket cut", agent_id)
            self.world.gateway.cut(sockets[0])

    @rule(data=DATA)
    def answer(self, data: st.DataObject) -> None:
        """Let an agent report on something that reached it, now or long ago."""
        self._begin(data, "answer")
        self._answer(self.world.choose(AGENTS))

    @rule(data=DATA)
    def forge(self, data: st.DataObject) -> None:
        """Let an agent report on another's command, or say what means nothing, or that it lives."""
        self._begin(data, "garbage, forged answer, heartbeat")
        agent_id, other = self.world.choose((("k8s", "batch"), ("batch", "docker"), ("docker", "k8s")))
        sockets = self.agents.sockets(agent_id)
        if not sockets:
            return
        socket = self.world.choose(sockets)
        if (how := self.world.choose((0, 1, 2))) == 0:
            self.agents.heartbeat(socket)
        elif how == 1:
            self.agents.say(socket, self.world.choose(GARBAGE))
        elif memory := self.agents.memory[other]:
            self.agents.tell(socket, self._one(data, memory), self.world.choose(KINDS[agent_id]))

    @rule(data=DATA)
    def sweep(self, data: st.DataObject) -> None:
        """Sweep."""
        self._begin(data, "sweep")
        self.world.sweep()

    @rule(data=DATA)
    def pass_time(self, data: st.DataObject) -> None:
        """Let time pass."""
        self._begin(data, "time passes")
        self.world.pass_time(self.world.choose((1, 7, 25, 61, 130, 400, 700, 4000)))

    @rule(data=DATA)
    def govern(self, data: st.DataObject) -> None:
        """Reject or approve an agent, or revoke a key."""
        self._begin(data, "approve, reject, revoke")
        how, agent_id = self.world.choose(("approved", "rejected", "key")), self.world.choose(AGENTS)
        if how == "key":
            self.operators.change_key(agent_id)
        else:
            self.operators.decide(agent_id, how)

    # ── Parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _one(self, data: st.DataObject, things: list[Any]) -> Any:
        return things[-1 - data.draw(_PICKS[len(things)])]

    def _answer(self, agent_id: str) -> None:
        memory, sockets = self.agents.memory[agent_id], self.agents.sockets(agent_id)
        if memory:
            received = memory[-1 - self.world.pick(len(memory))]
            socket = self.world.choose((sockets[0], sockets[0], *sockets))
            self.agents.tell(socket, received, self.world.choose(KINDS[agent_id]))

    def _between(self, agent_id: str) -> None:
        what = self.world.choose(
            ("",) * 14 + ("submit", "answer", "connect", "close", "sweep", "cancel", "freeze", "slow")
        )
        if what:
            self.tally.rules[f"meanwhile: {what}"] += 1
            self.world.say("meanwhile:")
        match what:
            case "submit":
                self.operators.submit(agent_id)
            case "answer":
                self._answer(agent_id)
            case "connect":
                self.agents.connect(agent_id)
            case "close" if self.world.closings:
                self.agents.closed(self.world.closings.pop())
            case "sweep":
                self.world.sweep()
            case "cancel" if self.operators.known:
                self.operators.cancel(self.operators.known[-1])
            case "freeze":
                self.world.pass_time(31)
            case "slow":
                self.world.pass_time(6)
            case _:
                pass

    # ── The end ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def teardown(self) -> None:
        """Drain, read everything, check everything."""
        try:
            drain(self.world, self.agents, self.operators)
            self.world.observer.finish()
            violations = check_all(self.world.record, self.tally.checks)
        finally:
            self._patches.close()
        tally = self.tally
        tally.histories += 1
        tally.commands += len(self.world.record.finals)
        tally.deliveries += sum(post.arrived for post in self.world.record.posts)
        tally.faults.update(self.world.faults)
        tally.on_history()
        if violations:
            tally.failing = [*self.world.lines, "", *violations]
            raise AssertionError("\n".join(violations))
