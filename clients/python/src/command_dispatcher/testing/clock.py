"""The time of a test: it passes as always, and jumps when the test says so."""

import asyncio
from datetime import UTC, datetime, timedelta


class Clock:
    """The clock of the running event loop while the test lasts; `asyncio.sleep` in a handler follows it, too."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._real = self._loop.time
        self._jumped = 0.0

    def start(self) -> None:
        """Take over the loop's time."""
        self._loop.time = self.monotonic  # type: ignore[method-assign]

    def stop(self) -> None:
        """Give the loop its own time back."""
        self._loop.time = self._real  # type: ignore[method-assign]

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return self._real() + self._jumped

    def now(self) -> datetime:
        """Return the moment."""
        return datetime.now(UTC) + timedelta(seconds=self._jumped)

    def jump(self, to: float) -> None:
        """Let the time pass until this second of `monotonic`."""
        self._jumped += max(0.0, to - self.monotonic())
