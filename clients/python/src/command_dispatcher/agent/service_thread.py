"""The thread that keeps an agent connected: a handler that blocks its own thread stops no heartbeat."""

import asyncio
import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from .core import Core, SystemClock
from .credentials import Credentials
from .engine import Engine, Runner
from .errors import StorageFailed
from .network import WebSockets
from .records import Catalogue
from .settings import Settings
from .storage import SqliteStorage
from .work import STORAGE_PAUSES
from .writes import Outcome

logger = logging.getLogger("command_dispatcher.agent")


class ServiceThread:
    """Runs the engine of one agent, with its storage and its connections, in a loop of its own."""

    def __init__(self, settings: Settings, catalogue: Catalogue, facts: Mapping[str, Any], runner: Runner) -> None:
        self._process = os.getpid()
        self.finished: Future[None] = Future()
        """Done when the agent has ended; its exception says why, if the agent could not run."""
        self._settings, self._catalogue, self._facts, self._runner = settings, catalogue, facts, runner
        self._wake: Callable[[], None] = _nothing
        self._leaving = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[Callable[[Engine], None]] = deque()
        self._thread = threading.Thread(target=self._run, name="agent", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def drain(self, seconds: float) -> None:
        """Finish what runs within a time, say its results, then end; from any thread."""
        self._leaving = True
        self._call(lambda engine: engine.drain(seconds))

    def move(self) -> None:
        """Open a new connection, with the key that is in the file now; from any thread."""
        self._call(lambda engine: engine.move())

    def ended(self, command_id: str, outcome: Outcome) -> None:
        """Take the outcome of a handler, from any thread."""
        self._call(lambda engine: engine.ended(command_id, outcome))

    def progress(self, command_id: str, body: str) -> None:
        """Take progress of a handler, from any thread."""
        self._call(lambda engine: engine.progress(command_id, body))

    def _call(self, event: Callable[[Engine], None]) -> None:
        if os.getpid() != self._process:
            return  # a child that a handler forked: the agent is its parent
        self._waiting.append(event)
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._wake)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            self.finished.set_exception(error)
        else:
            self.finished.set_result(None)

    async def _serve(self) -> None:
        credentials = Credentials(self._settings)
        storage = await self._open_storage()
        if storage is None:
            return
        loop = asyncio.get_running_loop()
        core = Core(
            catalogue=self._catalogue,
            clock=SystemClock(loop.time),
            window=self._settings.window,
            facts=self._facts,
            longest_pause=self._settings.longest_pause,
        )
        network = WebSockets(self._settings, credentials)
        network.engine = engine = Engine(core, storage, self._runner, network)

        def take_events() -> None:
            while self._waiting:
                self._waiting.popleft()(engine)

        self._wake, self._loop = network.wake, loop
        try:
            await network.serve(take_events)
        finally:
            self._loop = None
            storage.close()

    async def _open_storage(self) -> SqliteStorage | None:
        """Open the state file, as soon as there is room for it; None: the agent is to end."""
        wake = asyncio.Event()
        self._wake, self._loop = wake.set, asyncio.get_running_loop()
        pause, longest = STORAGE_PAUSES
        while not self._leaving:
            try:
                return SqliteStorage(self._settings.state, self._settings.agent_id)
            except StorageFailed as error:
                logger.error("The agent does not connect before its state file can be written: %s", error)  # noqa: TRY400 - the reason is enough
            wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), pause)
            pause = min(pause * 2, longest)
        return None


def _nothing() -> None:
    """Do nothing: the loop does not run yet."""
