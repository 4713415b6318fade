"""The connections of one agent: opened, read, written and closed as its engine says."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from .credentials import Credentials
from .engine import Engine
from .messages import fragments
from .settings import Settings
from .transport import NotConnected, open_connection


def reason_of(code: int | None, said: str | None) -> str:
    """Tell why the service has closed a connection; a service that ends closes it with another code than 1000."""
    reason = f"the service closed the connection ({f'{code} {said}'.rstrip()})"
    is_replaced = code == CloseCode.NORMAL_CLOSURE
    return f"{reason}, as it does when another copy of this agent connects" if is_replaced else reason


@dataclass(slots=True)
class _Socket:
    websocket: ClientConnection
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class WebSockets:
    """Serves the engine of one agent in the running event loop."""

    engine: Engine
    _tasks: asyncio.TaskGroup

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._settings, self._credentials = settings, credentials
        self._sockets: dict[int, _Socket] = {}
        self._opened = 0
        self._running: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    async def serve(self, take_events: Callable[[], None]) -> None:
        """Serve until the agent has ended; `take_events` is called after each `wake`."""
        async with asyncio.TaskGroup() as self._tasks:
            self.engine.start()
            await self._serve(take_events)
            sockets = list(self._sockets.values())
            await asyncio.gather(*(socket.websocket.close() for socket in sockets))
            for task in self._running:
                task.cancel()

    async def _serve(self, take_events: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            take_events()
            if self.engine.core.is_finished:
                return
            self._changed.clear()
            due = self.engine.core.next_due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._changed.wait()
            if due is not None and due <= loop.time():
                self.engine.tick()

    def open(self) -> None:
        """Begin to open a connection."""
        self._spawn(self._open())

    def close(self, connection: int) -> None:
        """Close a connection."""
        socket = self._sockets.get(connection)
        if socket is not None:
            self._spawn(socket.websocket.close())

    def wake(self) -> None:
        """Look for messages to send, and for the next moment of `tick`."""
        self._changed.set()
        for socket in self._sockets.values():
            socket.wake.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _open(self) -> None:
        try:
            websocket = await open_connection(self._settings, self._credentials)
        except NotConnected as error:
            self.engine.open_failed(error.failure, str(error))
            return
        self._opened += 1
        connection, socket = self._opened, _Socket(websocket)
        self._sockets[connection] = socket
        self._spawn(self._write(connection, socket))
        self.engine.opened(connection)
        try:
            async for text in websocket:
                self.engine.message(connection, text)
            reason = reason_of(websocket.close_code, websocket.close_reason)
        except ConnectionClosed as error:
            reason = str(error)
        del self._sockets[connection]
        socket.wake.set()
        self.engine.closed(connection, reason)

    async def _write(self, connection: int, socket: _Socket) -> None:
        """Send what the engine has to say, one message after another."""
        with contextlib.suppress(ConnectionClosed):
            while connection in self._sockets:
                socket.wake.clear()
                while (text := self.engine.core.next_message(connection)) is not None:
                    pieces = fragments(text)
                    await socket.websocket.send(pieces if len(pieces) > 1 else text)
                await socket.wake.wait()
