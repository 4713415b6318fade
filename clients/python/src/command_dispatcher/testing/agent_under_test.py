"""One life of an agent in a test: its engine and handlers are real, its network and state file are in memory."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from command_dispatcher.agent.agent import Agent
from command_dispatcher.agent.core import Core
from command_dispatcher.agent.engine import Engine
from command_dispatcher.agent.execution import Executions
from command_dispatcher.agent.link import Failure
from command_dispatcher.agent.records import Start
from command_dispatcher.agent.writes import Outcome, Storage

from .clock import Clock
from .memory import Crash


class Listener(Protocol):
    """The service's side of the connection."""

    def connecting(self) -> None:
        """Take note of a new connection."""
        ...

    def connected(self) -> None:
        """Take note that its agent has said what it says first."""
        ...

    def disconnected(self) -> None:
        """Take note that there is no connection."""
        ...

    def said(self, text: str) -> None:
        """Take a message of the agent."""
        ...


class AgentUnderTest:
    """Runs an agent in the loop of the test until `end`."""

    def __init__(self, agent: Agent, storage: Storage, clock: Clock, listener: Listener) -> None:
        self.reachable: Callable[[], bool] = lambda: True
        self.connections = 0
        self.events = 0
        """How many events there were: no new one means that everything waits for the time."""
        self._connection: int | None = None
        self._listener = listener
        self._alive = True
        core = Core(catalogue=agent.handlers, clock=clock, window=agent.window, facts=agent.facts)
        self.engine = Engine(core, storage, self, self)
        self._executions = Executions(agent.handlers, self._handler_ended, self._handler_progressed)
        self._loop = asyncio.get_running_loop()

    def begin(self) -> None:
        """Begin its life."""
        self._do(self.engine.start)

    def tick(self) -> None:
        """Let it do what is due."""
        self._do(self.engine.tick)

    def next_due(self) -> float | None:
        """Return when `tick` has something to do."""
        return self.engine.core.next_due() if self._alive else None

    @property
    def is_connected(self) -> bool:
        """Whether a connection is open."""
        return self._connection is not None

    def send(self, text: str) -> None:
        """Send a message to the agent."""
        connection = self._connection
        if connection is not None:
            self._do(lambda: self.engine.message(connection, text))

    def cut(self) -> None:
        """Cut the connection."""
        connection, self._connection = self._connection, None
        self._listener.disconnected()
        if connection is not None:
            self._do(lambda: self.engine.closed(connection, "cut by the test"))

    def _do(self, event: Callable[[], None]) -> None:
        if not self._alive:
            return
        try:
            event()
        except Crash:
            self._alive, self._connection = False, None
            self._listener.disconnected()

    async def end(self) -> None:
        """End the agent as `kill -9` does: nothing more is stored or said; its handlers are cancelled."""
        self._alive = False
        self._connection = None
        self._listener.disconnected()
        await self._executions.abandon()

    # ── Network ────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """Begin to open a connection."""
        self._soon(self._open)

    def _open(self) -> None:
        if not self.reachable():
            self.engine.open_failed(Failure.UNREACHABLE, "the test lets nobody in")
            return
        older, self.connections = self._connection, self.connections + 1
        self._connection = self.connections
        if older is not None:
            self.engine.closed(older, "superseded")  # the service closes it before it answers the handshake
        self._listener.connecting()
        self.engine.opened(self._connection)
        self._take_messages()  # what it says first comes before the commands
        self._listener.connected()

    def close(self, connection: int) -> None:
        """Close a connection."""
        self._soon(lambda: self._closed(connection))

    def _closed(self, connection: int) -> None:
        if connection == self._connection:
            self._connection = None
            self._listener.disconnected()
            self.engine.closed(connection, "closed by the agent")

    def wake(self) -> None:
        """Take what the agent has to say."""
        self._soon(self._take_messages)

    def _take_messages(self) -> None:
        while self._connection is not None:
            text = self.engine.core.next_message(self._connection)
            if text is None:
                return
            self._listener.said(text)

    def _soon(self, event: Callable[[], None]) -> None:
        self.events += 1
        self._loop.call_soon(self._do, event)

    # ── Handlers ───────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, effect: Start) -> None:
        """Run the handler of a command."""
        self.events += 1
        self._executions.start(effect.delivery, resumed=effect.resumed)

    def stop(self, command_id: str) -> None:
        """Ask a handler to stop."""
        self.events += 1
        self._executions.stop(command_id)

    def _handler_ended(self, command_id: str, outcome: Outcome) -> None:
        self.events += 1
        self._do(lambda: self.engine.ended(command_id, outcome))

    def _handler_progressed(self, command_id: str, body: str) -> None:
        self.events += 1
        # A handler in a thread calls this from there.
        self._loop.call_soon_threadsafe(self._progressed, command_id, body)

    def _progressed(self, command_id: str, body: str) -> None:
        self._do(lambda: self.engine.progress(command_id, body))
