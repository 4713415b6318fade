"""The world of one history: processes, sockets, time, and everything that is chosen by the seed."""

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from unittest import mock

import psycopg

from dispatcher.commands import delivery, flush
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from dispatcher.protocol import frames
from tests.simulation.clock import Clock
from tests.simulation.connection import Blow, FragileConnection, Killed, Trap
from tests.simulation.gateway import FaultyGateway, Socket
from tests.simulation.laboratory import Laboratory
from tests.simulation.observer import Observer
from tests.simulation.record import Carried, Failure, Post, Record, Sweep, Trouble

T = TypeVar("T")
BLOWS = (None,) * 160 + tuple((blow, trips) for trips in range(5) for blow in Blow if blow is not Blow.FROZEN)
TRAPS = (*BLOWS, *((Blow.FROZEN, trips) for trips in range(5)))
DELIVERING = {"commands", "flush", "sweeper", "delivery"}
"""Functions that hold leases; the others are looked at from before to after, when nothing else may happen."""
FRAME_BYTES = 600
FUNCTION_SECONDS = 60.0
HANDSHAKE_SECONDS = 11.0
SILENT_SECONDS = 600.0
SHORTEST_TIMEOUT = 5
FROZEN_SECONDS = 31
"""Longer than a lease."""
DEEPEST = 2
"""Functions that run at once: one, and another while it posts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[T]):
    """What became of a function."""

    value: T | None = None
    returned: bool = False
    struck: bool = False
    """Whether its connection to the database was broken."""
    lost: bool = False
    """The database was lost to it: it failed with an OperationalError."""


class World:
    """Plays the machines between the actors: functions in their environments, the gateway, the clock."""

    def __init__(self, laboratory: Laboratory, environments: list[FragileConnection]) -> None:
        self.laboratory = laboratory
        self.record = Record()
        self.observer = Observer(laboratory.observer, self.record)
        self.gateway = FaultyGateway(self)
        self.clock = Clock()
        self.running: list[FragileConnection] = []
        self.closings: list[Socket] = []
        self.lines: list[str] = []
        self.faults: Counter[str] = Counter()
        self.calm = False
        self.pick: Callable[[int], int] = lambda _count: 0
        self.between: Callable[[str], None] = lambda _agent_id: None
        self.on_arrival: Callable[[Socket, Carried], None] = lambda _socket, _carried: None
        self._environments = environments

    @contextmanager
    def enter(self) -> Generator[None]:
        """Let the layer's clocks be this world's, and its messages small."""
        with (
            mock.patch.object(delivery, "time", self.clock),
            mock.patch.object(flush, "time", self.clock),
            # Batches of a few commands: what goes wrong goes wrong in their midst as well.
            mock.patch.object(frames, "MESSAGE_BYTES", FRAME_BYTES),
            mock.patch.object(delivery, "MESSAGE_BYTES", FRAME_BYTES),
        ):
            yield

    # ── Chance ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def choose(self, options: tuple[T, ...]) -> T:
        """Choose one; the first is what happens when all is well."""
        return options[0] if self.calm else options[self.pick(len(options))]

    def say(self, line: str) -> None:
        """Write down what happens, for whoever reads the history."""
        self.lines.append("    " * len(self.running) + line)

    def trouble(self, kind: str, agent_id: str | None) -> None:
        """Write down what may be the reason of a duplicate."""
        self.faults[kind] += 1
        self.record.troubles.append(Trouble(at=self.record.tick(), kind=kind, agent_id=agent_id))

    # ── Processes ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def run(self, function: str, work: Callable[[Connection], T], *, persistently: bool = False) -> Outcome[T]:
        """Run a function in an environment of its own, with whatever happens to it.

        `persistently` does it again where the database was lost, as `database.persistently` does.
        """
        outcome = self._run(function, work)
        return self._run(function, work, sound=True) if persistently and outcome.lost else outcome

    def _run(self, function: str, work: Callable[[Connection], T], *, sound: bool = False) -> Outcome[T]:
        depth = len(self.running)
        conn = self._environment(depth)
        trap = None if sound else self.choose(TRAPS if function in DELIVERING else BLOWS)
        conn.trap = Trap(*trap) if trap else None
        conn.on_blow = self._on_blow
        conn.on_freeze = self._on_freeze
        self.running.append(conn)
        try:
            value = work(conn)
        except Killed:
            # In a post there is no transaction and no state of the session: the next process may have the connection.
            return Outcome()
        except psycopg.Error as error:
            self.say(f"{function} failed: {type(error).__name__}")
            self.record.failures.append(
                Failure(at=self.record.tick(), function=function, error=repr(error), struck=conn.struck)
            )
            conn.struck = True
            return Outcome(lost=isinstance(error, psycopg.OperationalError))
        else:
            return Outcome(value=value, returned=True, struck=conn.struck)
        finally:
            conn.trap = None
            self.running.pop()

    def _on_blow(self, blow: Blow) -> None:
        self.say(f"{blow}")
        self.trouble(blow, None)

    def _on_freeze(self) -> None:
        self.pass_time(FROZEN_SECONDS)
        if len(self.running) < DEEPEST and self.choose((True, False)):
            self.sweep()

    def _environment(self, depth: int) -> FragileConnection:
        while len(self._environments) <= depth:
            self._environments.append(self.laboratory.connect())
        if self._environments[depth].struck:
            self._environments[depth].close()
            self._environments[depth] = self.laboratory.connect()
        return self._environments[depth]

    def deadline(self) -> Callable[[], float]:
        """Return a function's deadline, by its own clock."""
        end = self.clock.monotonic() + FUNCTION_SECONDS
        return lambda: end - self.clock.monotonic()

    # ── What the gateway asks for ─────────────────────────────────────────────────────────────────────────────────────
    def observe_post(self, socket: Socket) -> Post:
        """Look at the agent and its queue as a post begins."""
        return self.observer.post(socket, clock=self.clock.monotonic(), open_transactions=self.observe_call())

    def observe_call(self) -> int:
        """Count the transactions that are open while the network is used."""
        idle = psycopg.pq.TransactionStatus.IDLE
        count = sum(not conn.closed and conn.info.transaction_status != idle for conn in self.running)
        self.record.calls.append(count)
        return count

    def arrive(self, socket: Socket, carried: tuple[Carried, ...]) -> None:
        """Hand commands to the agent, who has them from now on, whatever the sender learns of it."""
        for each in carried:
            self.on_arrival(socket, each)

    def interlude(self, agent_id: str) -> None:
        """Let others do something while a function waits for the network."""
        if not self.calm and len(self.running) < DEEPEST:
            self.between(agent_id)

    # ── Time and the sweep ────────────────────────────────────────────────────────────────────────────────────────────
    def pass_time(self, seconds: int) -> None:
        """Let time pass for everybody."""
        self.say(f"{seconds} s pass")
        if seconds >= SHORTEST_TIMEOUT:
            self.trouble(f"time: {seconds} s pass", None)
        self.laboratory.shift.apply(self.laboratory.observer, seconds)
        self.clock.skipped += seconds

    def sweep(self) -> None:
        """Sweep once."""
        self.say("sweep")
        faults = self.faults.total()
        swept = self.run("sweeper", lambda conn: sweep(conn, self.gateway, deadline=self.deadline()))
        value: Any = swept.value
        self.record.sweeps.append(
            Sweep(
                at=self.record.tick(),
                what="sweep",
                clean=swept.returned and faults == self.faults.total(),
                failed_passes=value.failed_passes if value else 0,
                stuck=self.observer.stuck(self.healthy_agents()),
            )
        )

    def observe_submission(self, agent_id: str, submit: Callable[[], bool]) -> None:
        """Look at what a submission has left pending, if nothing goes wrong meanwhile and no time passes."""
        before = self.faults.total(), self.clock.skipped
        accepted = submit()
        clean = accepted and before == (self.faults.total(), self.clock.skipped)
        self.record.sweeps.append(
            Sweep(
                at=self.record.tick(),
                what="submission",
                clean=clean,
                failed_passes=0,
                stuck=self.observer.stuck([agent_id] if agent_id in self.healthy_agents() else []),
            )
        )

    def healthy_agents(self) -> list[str]:
        """Name the agents whose last socket is open from end to end, older than a handshake may be, and not silent."""
        now = self.clock.monotonic()
        last = {socket.agent_id: socket for socket in self.gateway.sockets.values()}
        return [
            agent_id
            for agent_id, socket in last.items()
            if socket.healthy and now - socket.opened > HANDSHAKE_SECONDS and now - socket.heard < SILENT_SECONDS
        ]
