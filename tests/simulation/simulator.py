"""The simulation of one history: it runs the functions, injects the faults, passes time and records what happens."""

import contextlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from unittest import mock

import psycopg

from dispatcher.agents import presence
from dispatcher.commands import claims, conversation, delivery, flush, late_reports, reports, submission
from dispatcher.commands.flush import FlushRequest
from dispatcher.commands.sweep import sweep
from dispatcher.platform import database
from dispatcher.platform.database import Connection
from dispatcher.platform.observability import logger
from dispatcher.protocol import frames
from tests.simulation.faulty_connection import FaultyConnection, ProcessKilled
from tests.simulation.faulty_gateway import AgentConnection, FaultyGateway
from tests.simulation.history import DeliveryRound, FaultEvent, FunctionError, History
from tests.simulation.injected_faults import CONNECTION_FAULTS, DELIVERY_FAULTS, ActorFault, ConnectionFault
from tests.simulation.late_queue import LateQueue
from tests.simulation.message_recorder import MessageRecorder
from tests.simulation.observer import Observer
from tests.simulation.simulated_agents import HANDSHAKES, SimulatedAgents
from tests.simulation.simulated_operators import SimulatedOperators
from tests.simulation.simulated_time import SimulatedClock
from tests.simulation.simulation_database import SimulationDatabase

T = TypeVar("T")
DELIVERING = {"commands", "flush", "sweeper", "delivery"}
"""Functions that hold leases.  Only these are suspended: the effect of any other is observed right before and after it."""
MESSAGE_BYTES = 600
"""So few that a batch takes several messages, and faults also happen between them."""
PAUSE_SECONDS = 5.0
"""The shortest pause after a refused post or a failed attempt.  A slow machine must not use it up between two steps."""
ENVIRONMENT = {
    "FLUSH_FUNCTION": "flush",
    "LATE_REPORTS_QUEUE_URL": "late-reports",
    "AGENT_RATE": "",
    "OPERATOR_RATE": "",
}
FUNCTION_SECONDS = 60.0
HANDSHAKE_SECONDS = 11.0
"""The sweep waits 10 s for a handshake; one second of tolerance."""
IDLE_SECONDS = 600.0
SHORTEST_TIMEOUT = 5
LEASE_EXPIRED_SECONDS = 31
CONCURRENT_FUNCTIONS = 2
FINAL_PERIODS = (61, 61, *(350,) * 14)
"""Seconds between the last sweeps: two as in production, then as many as the longest timeouts take."""


AGENTS = tuple(HANDSHAKES)
CLOCKED = (claims, delivery, flush, database, presence, reports, submission)
"""The modules that measure time."""


class Chooser(Protocol):
    """Decides what happens."""

    def choose(self, options: tuple[T, ...]) -> T:
        """Choose one of the options; the first is the ordinary case."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[T]):
    """How a run of a function ended."""

    value: T | None = None
    returned: bool = False


@contextmanager
def _quiet() -> Generator[None]:
    """Log nothing: errors are expected."""
    driver = logging.getLogger("psycopg")
    before = logger.log_level, driver.level
    logger.setLevel(logging.CRITICAL)
    driver.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before[0])
        driver.setLevel(before[1])


class Simulation:
    """One history in the making."""

    def __init__(self, database: SimulationDatabase, chooser: Chooser) -> None:
        self.database = database
        self.history = History()
        self.observer = Observer(database.observer, self.history)
        self.clock = SimulatedClock()
        self.gateway = FaultyGateway(self)
        self.agents = SimulatedAgents(self)
        self.agents.key_ids = {agent_id: self.observer.valid_key(agent_id) for agent_id in HANDSHAKES}
        self.recorder = MessageRecorder(self)
        self.late_queue = LateQueue(self)
        self.database_away = False
        """Whether no function gets a connection to the database."""
        self.operators = SimulatedOperators(self)
        self.running: list[FaultyConnection] = []
        """The connections of the functions that run; the last one has been called during a network call of the one before."""
        self.during_call: Callable[[str], None] = lambda _agent_id: None
        """What others do while a function waits for the network."""
        self.handed_over: list[Callable[[], None]] = []
        """Invocations of flush by other functions."""
        self.faults_enabled = True
        self.log_lines: list[str] = []
        self.faults: Counter[str] = Counter()
        self._chooser = chooser

    @contextmanager
    def patched_layer(self) -> Generator[None]:
        """Give the layer this simulation's clock, database, queue and invocations, small messages and no log."""
        receive = self.recorder.observed(reports.receive)
        with contextlib.ExitStack() as patches:
            patches.enter_context(_quiet())
            patches.enter_context(mock.patch.dict(os.environ, ENVIRONMENT))
            for module in CLOCKED:
                patches.enter_context(mock.patch.object(module, "time", self.clock))
            for module, name, value in (
                (database, "connect", self._connect),
                (reports, "receive", receive),
                (late_reports, "receive", receive),
                (reports, "logger", self.recorder.logger),
                (conversation, "logger", mock.Mock()),
                (late_reports, "_client", lambda: self.late_queue),
                (flush, "lambda_api", self),
                (frames, "MESSAGE_BYTES", MESSAGE_BYTES),
                (delivery, "MESSAGE_BYTES", MESSAGE_BYTES),
            ):
                patches.enter_context(mock.patch.object(module, name, value))
            yield

    @contextmanager
    def _connect(self) -> Generator[FaultyConnection]:
        """Lend the connection of the function that runs last, as `database.connect` does."""
        if self.database_away:
            raise psycopg.OperationalError("the database cannot be reached")
        depth = len(self.running) - 1
        if self.running[depth].unusable:
            self.running[depth] = self.database.function_connection(depth)
            self.run_others(self.choose(AGENTS))  # while the function opens a new connection
        yield self.running[depth]

    def invoke_event(self, _function: str, payload: bytes) -> None:
        """Invoke flush later, as `lambda_api.invoke_event` does."""
        event = json.loads(payload)
        if "agentIds" in event:
            self.handed_over.append(lambda: self.agents.flush_agents(event["agentIds"]))
        else:
            self.handed_over.append(lambda: self.agents.flush(FlushRequest.from_event(event)))

    def _run_handed_over(self) -> None:
        handed_over, self.handed_over = self.handed_over, []
        for invoke in handed_over:
            if len(self.running) < CONCURRENT_FUNCTIONS and self.choose((True, True, True, False)):
                invoke()
            else:
                self.record_fault(ActorFault.INVOCATION_LOST)

    def choose(self, options: tuple[T, ...]) -> T:
        """Choose one of the options; the first one while faults are disabled."""
        return self._chooser.choose(options) if self.faults_enabled else options[0]

    def log(self, line: str) -> None:
        """Add a line for people who read the history."""
        self.log_lines.append("    " * len(self.running) + line)

    def record_fault(self, fault: str, agent_id: str | None = None) -> None:
        """Record a fault, which may cause a second delivery."""
        self.faults[fault] += 1
        self.history.faults.append(FaultEvent(at=self.history.tick(), kind=fault, agent_id=agent_id))

    # ── Functions ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def run(self, function: str, work: Callable[[Connection], T]) -> Outcome[T]:
        """Run a function in its own process, perhaps with a fault."""
        fault = self.choose(DELIVERY_FAULTS if function in DELIVERING else CONNECTION_FAULTS)
        conn = self.database.function_connection(len(self.running))
        conn.fault, conn.round_trips_left = fault or (None, 0)
        conn.on_fault = self._on_connection_fault
        conn.while_suspended = self.while_suspended
        self.running.append(conn)
        try:
            return Outcome(value=work(conn), returned=True)
        except ProcessKilled:
            return Outcome()
        except psycopg.Error as error:
            # Which error comes from a lost connection depends on the moment.
            lost = isinstance(error, psycopg.OperationalError)
            self.log(f"{function} failed: {'the database is lost' if lost else type(error).__name__}")
            injected = conn.unusable or self.running[-1].unusable or self.database_away
            self.history.function_errors.append(
                FunctionError(function=function, error=repr(error), fault_injected=injected)
            )
            self.running[-1].unusable = True
            return Outcome()
        finally:
            conn.fault = None
            self.running.pop()
            self.observer.lengthen_pauses(PAUSE_SECONDS)

    def _on_connection_fault(self, fault: ConnectionFault) -> None:
        self.log(fault)
        self.record_fault(fault)

    def while_suspended(self) -> None:
        """Let a lease expire and others act."""
        self.pass_time(LEASE_EXPIRED_SECONDS)
        if len(self.running) < CONCURRENT_FUNCTIONS and self.choose((True, False)):
            self.sweep()

    def deadline(self) -> Callable[[], float]:
        """Return a function's deadline, by its own clock."""
        end = self.clock.monotonic() + FUNCTION_SECONDS
        return lambda: end - self.clock.monotonic()

    def record_network_call(self) -> None:
        """Record how many transactions are open while the network is used."""
        idle = psycopg.pq.TransactionStatus.IDLE
        self.history.open_transactions.append(
            sum(not conn.closed and conn.info.transaction_status != idle for conn in self.running)
        )

    def run_others(self, agent_id: str) -> None:
        """Let others act while a function waits for the network."""
        if self.faults_enabled and len(self.running) < CONCURRENT_FUNCTIONS:
            self.during_call(agent_id)

    # ── Time, sweeps and submissions ──────────────────────────────────────────────────────────────────────────────────
    def pass_time(self, seconds: int) -> None:
        """Let time pass for the database and for every function."""
        self.log(f"{seconds} s pass")
        if seconds >= SHORTEST_TIMEOUT:
            self.record_fault(ActorFault.TIME_PASSES)
        self.database.pass_time(seconds)
        self.clock.shifted += seconds

    def sweep(self) -> None:
        """Sweep once."""
        self.log("sweep")
        faults = self.faults.total()
        swept = self.run("sweeper", lambda conn: sweep(conn, self.gateway, deadline=self.deadline()))
        self._run_handed_over()
        undisturbed = swept.returned and faults == self.faults.total()
        failed_passes = swept.value.failed_passes if swept.value else 0
        self._record_round("sweep", self._healthy_agents(), undisturbed=undisturbed, failed_passes=failed_passes)

    def observe_submission(self, agent_id: str, submit: Callable[[], bool]) -> None:
        """Submit, and record what this left pending."""
        before = self.faults.total(), self.clock.shifted
        accepted = submit()
        self._run_handed_over()
        undisturbed = accepted and before == (self.faults.total(), self.clock.shifted)
        self._record_round(
            "submission", [each for each in self._healthy_agents() if each == agent_id], undisturbed=undisturbed
        )

    def _record_round(self, kind: str, agents: list[str], *, undisturbed: bool, failed_passes: int = 0) -> None:
        swept = kind == "sweep"
        stuck = self.observer.stuck_commands(agents, unwelcomed=swept)
        self.history.delivery_rounds.append(
            DeliveryRound(
                kind=kind,
                undisturbed=undisturbed,
                failed_passes=failed_passes,
                stuck=stuck,
                untold=self._untold(agents) if swept else (),
            )
        )

    def _untold(self, agents: list[str]) -> tuple[str, ...]:
        """Return commands that were cancelled or timed out, and whose connected agent was not asked to stop them."""
        if "batch" not in self.observer.can_be_told(agents):
            return ()
        connection = self.agents.connections("batch")[0].connection_id
        return tuple(
            command.command_id
            for command in self.observer.commands().values()
            if command.agent_id == "batch"
            and command.incarnation in {None, self.agents.incarnations["batch"]}
            and (
                (command.cancel_requested and command.status in {"sent", "acknowledged"})
                or (command.status == "timed_out" and command.command_id not in self.observer.lost_by_agents())
            )
            and (connection, command.command_id) not in self.gateway.told
        )

    def _healthy_agents(self) -> list[str]:
        """Return the agents whose last connection works, is older than a handshake may be, and not idle."""
        now = self.clock.passed()
        last = {
            agent_id: connections[0] for agent_id in HANDSHAKES if (connections := self.agents.connections(agent_id))
        }
        mute = self.observer.mute_agents()
        return [
            agent_id
            for agent_id, connection in last.items()
            if self._is_good(connection)
            and (connection.heard or agent_id not in mute)
            and now - connection.opened > HANDSHAKE_SECONDS
            and now - connection.last_heartbeat < IDLE_SECONDS
        ]

    # ── The end ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def finish(self, reconnecting: set[str]) -> None:
        """Stop all faults and bring every command to its end: agents connect and answer, and the sweep runs.

        A command that has not ended after this is stuck.
        """
        self.faults_enabled = False
        self.log("── no more faults ──")
        while self.late_queue.records:
            self.late_queue.bring(3)
        agents = [
            agent_id
            for agent_id in HANDSHAKES
            if self.observer.has_unfinished(agent_id) or (agent_id == "batch" and self.agents.outbox)
        ]
        for agent_id in agents:
            if agent_id in self.agents.deleted:
                self.operators.create(agent_id)
            if agent_id in self.operators.rejected:
                self.operators.set_approval(agent_id, "approved")
            if self.agents.key_ids[agent_id] is None:
                self.operators.change_key(agent_id)
            self.agents.mute.discard(agent_id)
            connections = self.agents.connections(agent_id)
            open_for_speech = bool(connections) and self._is_good(connections[0])
            if agent_id in reconnecting or not open_for_speech:
                self.agents.connect(agent_id)
                self.agents.flush(self.agents.flush_requests[-1])
        self.agents.answer_everything(agents)
        for period in FINAL_PERIODS:
            if not self.observer.has_unfinished():
                break
            self.pass_time(period)
            for agent_id in agents:
                self.agents.heartbeat(self.agents.connections(agent_id)[0])
            self.sweep()
            self.agents.answer_everything(agents)
        self.sweep()
        self.history.unconfirmed = [text for text, _ in self.agents.outbox]
        self.observer.record_end()

    def _is_good(self, connection: AgentConnection) -> bool:
        """Tell whether what the agent says over a connection is settled and answered."""
        return connection.healthy and self.observer.admits(connection.agent_id, connection.key_id)
