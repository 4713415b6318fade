"""How a run is told to end: by a signal, in order; by one more, at once."""

import os
import signal
import time
from collections.abc import Callable

ECHO_SECONDS = 1.0
"""How long the same signal may come again: make passes a SIGTERM on that its whole group got, as `timeout` sends it."""


class Ending:
    """Takes over SIGTERM, SIGINT and SIGHUP for as long as the process lives.

    The first signal raises KeyboardInterrupt, or calls what `tell` named; its echo is ignored; any other ends at once.
    """

    def __init__(self) -> None:
        """Listen from now on; a SIGHUP that nobody wants, as nohup leaves it, stays unheard."""
        self._told: Callable[[], object] = _interrupt
        self._first: tuple[int, float] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._came)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._came)

    def tell(self, told: Callable[[], object]) -> None:
        """Call `told` from now on, between any two instructions of the main thread, instead of interrupting it."""
        self._told = told

    def _came(self, number: int, _frame: object) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = (number, now)
            self._told()
        elif number != self._first[0] or now - self._first[1] > ECHO_SECONDS:
            os._exit(1)


def _interrupt() -> None:
    raise KeyboardInterrupt
