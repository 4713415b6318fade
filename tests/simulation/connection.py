"""A connection to PostgreSQL that breaks at a chosen round trip, as real ones do."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

RV = TypeVar("RV")


class Killed(BaseException):
    """The process was killed with SIGKILL: nothing after this point runs."""


class Blow(StrEnum):
    """What happens at a round trip to the database."""

    LOST_BEFORE = "database: connection lost before a statement or commit"
    LOST_AFTER = "database: answer to a statement or commit lost"
    KILLED_BEFORE = "process: killed before a statement or commit"
    KILLED_AFTER = "process: killed after a statement or commit"
    FROZEN = "process: frozen after a commit, and thawed when its lease is over"


@dataclass(slots=True)
class Trap:
    """A blow that waits for one of the next round trips."""

    blow: Blow
    trips: int
    """Round trips that go well before it."""


class FragileConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection of one simulated process.  Every word with the server passes through `wait`: there the trap is."""

    trap: Trap | None = None
    struck: bool = False
    """Whether anything was done to it."""
    on_blow: Callable[[Blow], None]
    on_freeze: Callable[[], None]
    """What the others do while this process stands still."""
    terminate: Callable[[int], None]
    """Ends the server process behind a connection, and returns when it is gone."""

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Do one round trip, if nothing happens to it."""
        trap = self.trap
        if trap is None:
            return super().wait(gen, interval, timeout)
        if trap.trips > 0:
            trap.trips -= 1
            return super().wait(gen, interval, timeout)
        self.trap = None
        if trap.blow is Blow.FROZEN:
            return self._freeze(trap, super().wait(gen, interval, timeout))
        self.on_blow(trap.blow)
        if trap.blow is Blow.KILLED_BEFORE:
            gen.close()
            self.die()
        if trap.blow is Blow.LOST_BEFORE:
            self.cut()
            return super().wait(gen, interval, timeout)
        answer = super().wait(gen, interval, timeout)
        if trap.blow is Blow.KILLED_AFTER:
            self.die()
        self.cut()
        del answer
        raise psycopg.OperationalError("the connection was lost before the answer came")

    def _freeze(self, trap: Trap, answer: RV) -> RV:
        if self.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            self.trap = trap  # at the next round trip that ends a transaction
        else:
            self.on_blow(trap.blow)
            self.on_freeze()
        return answer

    def cut(self) -> None:
        """Let the server's side of this connection end; what was not committed is rolled back."""
        self.struck = True
        self.terminate(self.info.backend_pid)

    def die(self) -> None:
        """Let this process be killed: its socket closes, and the server rolls back what was not committed."""
        self.cut()
        self.pgconn.finish()
        raise Killed
