"""Joins the pure agent with its storage and its handlers; what it needs from the network is a `Network`."""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from .core import Core, Effect
from .errors import StorageFailed
from .link import Close, Failure, Open
from .records import Start, Stop
from .writes import Outcome, Storage, Write

logger = logging.getLogger("command_dispatcher.agent")


class Runner(Protocol):
    """Runs the handlers."""

    def start(self, effect: Start) -> None:
        """Run the handler of a command."""
        ...

    def stop(self, command_id: str) -> None:
        """Ask a handler to stop."""
        ...


class Network(Protocol):
    """Opens and closes connections, and sends what the engine has to say."""

    def open(self) -> None:
        """Begin to open a connection."""
        ...

    def close(self, connection: int) -> None:
        """Close a connection."""
        ...

    def wake(self) -> None:
        """Look for messages to send, and for the next moment of `tick`."""
        ...


class Engine:
    """Takes each event, commits what is to be stored, and only then says and does what follows.  For one thread."""

    def __init__(self, core: Core, storage: Storage, runner: Runner, network: Network) -> None:
        self.core = core
        self._storage, self._runner, self._network = storage, runner, network

    def start(self) -> None:
        """Take over the state file, and connect."""
        stored = self._storage.load()
        self._do(lambda: self.core.start(stored))

    def opened(self, connection: int) -> None:
        """Take a new connection."""
        logger.info("Connected")
        self._do(lambda: self.core.opened(connection))

    def open_failed(self, failure: Failure, reason: str) -> None:
        """Take note that an attempt to connect failed."""
        level = logging.WARNING if failure is Failure.UNREACHABLE else logging.ERROR
        logger.log(level, "Not connected: %s", reason)
        self._do(lambda: self.core.open_failed(failure))

    def closed(self, connection: int, reason: str) -> None:
        """Take note that a connection has ended."""
        # The service closes the older connection as soon as it knows the newer one, often before the agent does.
        if connection != self.core.link.current or self.core.link.is_opening:
            logger.info("Moved to a new connection")
        elif self.core.link.leaving or self.core.link.suspended:
            logger.info("Disconnected")  # on purpose; the log said why
        else:
            logger.warning("Disconnected: %s", reason)
        self._do(lambda: self.core.closed(connection))

    def message(self, connection: int, text: str | bytes) -> None:
        """Take a message of the service."""
        self._do(lambda: self.core.message(connection, text))
        while self.core.ignored:
            logger.warning("Ignored %s", self.core.ignored.popleft())

    def ended(self, command_id: str, outcome: Outcome) -> None:
        """Take the outcome of a handler."""
        self._do(lambda: self.core.ended(command_id, outcome))

    def progress(self, command_id: str, body: str) -> None:
        """Take progress of a handler."""
        self._do(lambda: self.core.progress(command_id, body))

    def tick(self) -> None:
        """Do what is due."""
        self._do(self.core.tick)

    def drain(self, seconds: float) -> None:
        """Finish what runs within a time, say its results, then end."""
        self._do(lambda: self.core.drain(seconds))

    def move(self) -> None:
        """Open a new connection, with the key that is in the file now."""
        self._do(self.core.link.move)
        self.tick()

    def _do(self, event: Callable[[], None]) -> None:
        event()
        while True:
            writes, effects = self.core.take_writes(), self.core.take_effects()
            if not writes and not effects:
                break
            if writes:
                self._commit(writes)
            for effect in effects:
                self._execute(effect)
        self._network.wake()

    def _commit(self, writes: Sequence[Write]) -> None:
        troubled = self.core.work.trouble is not None
        try:
            self._storage.commit(writes)
        except StorageFailed as error:
            if not troubled:
                words = "The state file cannot be written (%s): no command is acknowledged until it can"
                logger.error(words, error)  # noqa: TRY400 - the reason is enough
            self.core.not_stored(writes, str(error))
        else:
            self.core.stored(writes)
            if troubled and self.core.work.trouble is None:
                logger.warning("The state file can be written again")

    def _execute(self, effect: Effect) -> None:
        match effect:
            case Start():
                self._runner.start(effect)
            case Stop():
                self._runner.stop(effect.command_id)
            case Open():
                self._network.open()
            case Close():
                self._network.close(effect.connection)
