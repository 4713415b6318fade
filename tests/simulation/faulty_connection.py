"""A connection to PostgreSQL that fails at a chosen round trip, as real connections and processes do."""

from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

from tests.simulation.injected_faults import ConnectionFault

RV = TypeVar("RV")
IDLE, NO_PIPELINE = psycopg.pq.TransactionStatus.IDLE, psycopg.pq.PipelineStatus.OFF


class ProcessKilled(BaseException):
    """The process was killed with SIGKILL: it runs no more code."""


class FaultyConnection(psycopg.Connection[tuple[Any, ...]]):
    """The connection of one simulated process.  Every round trip goes through `wait`, which injects the fault."""

    fault: ConnectionFault | None = None
    """The next fault; None: no fault."""
    round_trips_left: int = 0
    """How many round trips succeed before the fault."""
    unusable: bool = False
    on_fault: Callable[[ConnectionFault], None]
    while_suspended: Callable[[], None]
    """What others do while this process is suspended."""
    terminate: Callable[[int], None]
    """Ends a server process, and returns when it has ended."""

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Do one round trip; the fault happens before or after it."""
        fault = self.fault
        if fault is None or self.round_trips_left:
            self.round_trips_left -= fault is not None
            return super().wait(gen, interval, timeout)
        if fault is ConnectionFault.SUSPENDED:
            return self._suspend(super().wait(gen, interval, timeout))
        self.fault = None
        self.on_fault(fault)
        if fault is ConnectionFault.KILLED_BEFORE:
            gen.close()
            self._die()
        if fault is ConnectionFault.LOST_BEFORE:
            self.cut()
            return super().wait(gen, interval, timeout)
        super().wait(gen, interval, timeout)
        if fault is ConnectionFault.KILLED_AFTER:
            self._die()
        self.cut()
        self.pgconn.finish()  # the driver has noticed it
        raise psycopg.OperationalError("the connection was lost before the answer came")

    def _suspend(self, answer: RV) -> RV:
        """Suspend the process at the first round trip that leaves no transaction open."""
        if (self.info.transaction_status, self.info.pipeline_status) == (IDLE, NO_PIPELINE):
            self.fault = None
            self.on_fault(ConnectionFault.SUSPENDED)
            self.while_suspended()
        return answer

    def cut(self) -> None:
        """End the server's side of this connection; it rolls back what was not committed."""
        self.unusable = True
        self.terminate(self.info.backend_pid)

    def _die(self) -> None:
        self.cut()
        self.pgconn.finish()
        raise ProcessKilled
