"""Waiting until something holds, looked at whenever something happened."""

import asyncio
from collections.abc import Callable


class Bell:
    """Rung at each event of one agent: a request, a message, an end."""

    def __init__(self) -> None:
        """Be silent."""
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Let those who wait look again."""
        self._rung.set()

    async def until(self, holds: Callable[[], object], seconds: float) -> bool:
        """Wait until it holds, so many seconds at most; return whether it does."""
        end = asyncio.get_running_loop().time() + seconds
        while not holds():
            self._rung.clear()
            try:
                async with asyncio.timeout_at(end):
                    await self._rung.wait()
            except TimeoutError:
                return bool(holds())
        return True
