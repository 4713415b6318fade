"""The simulation of one history: it runs the functions, injects the faults, passes time and records what happens."""

import logging
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from unittest import mock

import psycopg

from dispatcher.commands import delivery, flush
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from dispatcher.platform.observability import logger
from dispatcher.protocol import frames
from tests.simulation.faulty_connection import FaultyConnection, ProcessKilled
from tests.simulation.faulty_gateway import FaultyGateway
from tests.simulation.history import DeliveryRound, FaultEvent, FunctionError, History
from tests.simulation.injected_faults import CONNECTION_FAULTS, DELIVERY_FAULTS, ActorFault, ConnectionFault
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
BACKOFF_SECONDS = 5.0
"""The pause after a refused post; in production it is random.  A slow machine must not use it up between two steps."""
FUNCTION_SECONDS = 60.0
HANDSHAKE_SECONDS = 11.0
"""The sweep waits 10 s for a handshake; one second of tolerance."""
IDLE_SECONDS = 600.0
SHORTEST_TIMEOUT = 5
LEASE_EXPIRED_SECONDS = 31
CONCURRENT_FUNCTIONS = 2
FINAL_PERIODS = (61, 61, *(350,) * 14)
"""Seconds between the last sweeps: two as in production, then as many as the longest timeouts take."""


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
    database_lost: bool = False


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
        self.operators = SimulatedOperators(self)
        self.running: list[FaultyConnection] = []
        """The connections of the functions that run; the last one has been called during a network call of the one before."""
        self.during_call: Callable[[str], None] = lambda _agent_id: None
        """What others do while a function waits for the network."""
        self.faults_enabled = True
        self.log_lines: list[str] = []
        self.faults: Counter[str] = Counter()
        self._chooser = chooser

    @contextmanager
    def patched_layer(self) -> Generator[None]:
        """Give the layer this simulation's clock, a constant backoff, small messages and no log."""
        with (
            _quiet(),
            mock.patch.object(delivery, "time", self.clock),
            mock.patch.object(flush, "time", self.clock),
            mock.patch.object(delivery, "backoff", return_value=BACKOFF_SECONDS),
            mock.patch.object(frames, "MESSAGE_BYTES", MESSAGE_BYTES),
            mock.patch.object(delivery, "MESSAGE_BYTES", MESSAGE_BYTES),
        ):
            yield

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
    def run(self, function: str, work: Callable[[Connection], T], *, retried: bool = False) -> Outcome[T]:
        """Run a function in its own process, perhaps with a fault.

        `retried` runs it once more if the database was lost, like `database.persistently`.
        """
        outcome = self._run(
            function, work, self.choose(DELIVERY_FAULTS if function in DELIVERING else CONNECTION_FAULTS)
        )
        return self._run(function, work, None) if retried and outcome.database_lost else outcome

    def _run(
        self, function: str, work: Callable[[Connection], T], fault: tuple[ConnectionFault, int] | None
    ) -> Outcome[T]:
        conn = self.database.function_connection(len(self.running))
        conn.fault, conn.round_trips_left = fault or (None, 0)
        conn.on_fault = self._on_connection_fault
        conn.while_suspended = self._while_suspended
        self.running.append(conn)
        try:
            return Outcome(value=work(conn), returned=True)
        except ProcessKilled:
            return Outcome()
        except psycopg.Error as error:
            self.log(f"{function} failed: {type(error).__name__}")
            self.history.function_errors.append(
                FunctionError(function=function, error=repr(error), fault_injected=conn.unusable)
            )
            conn.unusable = True
            return Outcome(database_lost=isinstance(error, psycopg.OperationalError))
        finally:
            conn.fault = None
            self.running.pop()

    def _on_connection_fault(self, fault: ConnectionFault) -> None:
        self.log(fault)
        self.record_fault(fault)

    def _while_suspended(self) -> None:
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
        self.clock.skipped += seconds

    def sweep(self) -> None:
        """Sweep once."""
        self.log("sweep")
        faults = self.faults.total()
        swept = self.run("sweeper", lambda conn: sweep(conn, self.gateway, deadline=self.deadline()))
        undisturbed = swept.returned and faults == self.faults.total()
        failed_passes = swept.value.failed_passes if swept.value else 0
        self._record_round("sweep", self._healthy_agents(), undisturbed=undisturbed, failed_passes=failed_passes)

    def observe_submission(self, agent_id: str, submit: Callable[[], bool]) -> None:
        """Submit, and record what this left pending."""
        before = self.faults.total(), self.clock.skipped
        undisturbed = submit() and before == (self.faults.total(), self.clock.skipped)
        self._record_round(
            "submission", [each for each in self._healthy_agents() if each == agent_id], undisturbed=undisturbed
        )

    def _record_round(self, kind: str, agents: list[str], *, undisturbed: bool, failed_passes: int = 0) -> None:
        stuck = self.observer.stuck_commands(agents)
        self.history.delivery_rounds.append(
            DeliveryRound(kind=kind, undisturbed=undisturbed, failed_passes=failed_passes, stuck=stuck)
        )

    def _healthy_agents(self) -> list[str]:
        """Return the agents whose last connection works, is older than a handshake may be, and not idle."""
        now = self.clock.monotonic()
        last = {connection.agent_id: connection for connection in self.gateway.connections.values()}
        return [
            agent_id
            for agent_id, connection in last.items()
            if connection.healthy
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
        agents = [agent_id for agent_id in HANDSHAKES if self.observer.has_unfinished(agent_id)]
        for agent_id in agents:
            if agent_id in self.operators.rejected:
                self.operators.set_approval(agent_id, "approved")
            connections = self.agents.connections(agent_id)
            if agent_id in reconnecting or not (connections and connections[0].healthy):
                self.agents.connect(agent_id)
                self.agents.flush(self.agents.flush_requests[-1])
        self.agents.answer_everything(agents)
        for period in FINAL_PERIODS:
            if not self.observer.has_unfinished():
                break
            self.pass_time(period)
            for agent_id in agents:
                # No delivery follows, so what is delivered from here on is delivered by the sweep.
                self.agents.heartbeat(self.agents.connections(agent_id)[0], then_deliver=False)
            self.sweep()
            self.agents.answer_everything(agents)
        self.sweep()
        self.observer.record_end()
