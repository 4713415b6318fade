"""A state file in memory: it outlives the agent of a test, not the test."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from command_dispatcher.agent.errors import StorageFailed
from command_dispatcher.agent.writes import (
    Accept,
    Attempt,
    Begin,
    Confirm,
    End,
    Forget,
    Probe,
    StoredCommand,
    Write,
)


class Crash(Exception):
    """The agent of a test is killed at this moment."""


class MemoryStorage:
    """Stores as the state file does."""

    def __init__(self) -> None:
        self.is_full = False
        """Whether each commit fails, as on a full disk."""
        self.before_commit: Callable[[Sequence[Write]], None] = _go_on
        self.after_commit: Callable[[Sequence[Write]], None] = _go_on
        """Called with what is committed; may raise Crash."""
        self._commands: dict[str, StoredCommand] = {}

    def load(self) -> list[StoredCommand]:
        """Return all stored commands, in the order of their acceptance."""
        return list(self._commands.values())

    def commit(self, writes: Sequence[Write]) -> None:
        """Store everything; raises StorageFailed while it is full."""
        self.before_commit(writes)
        if self.is_full:
            raise StorageFailed("database or disk is full")
        for write in writes:
            self._write(write)
        self.after_commit(writes)

    def _write(self, write: Write) -> None:
        commands = self._commands
        match write:
            case Accept():
                commands.pop(write.delivery.command_id, None)
                commands[write.delivery.command_id] = StoredCommand(delivery=write.delivery, state="accepted")
            case Attempt():
                old = commands[write.command_id]
                commands[write.command_id] = replace(old, delivery=old.delivery.with_attempt(write.attempt))
            case Begin():
                commands[write.command_id] = replace(commands[write.command_id], state="running")
            case End():
                commands[write.delivery.command_id] = StoredCommand(
                    delivery=write.delivery, state="ended", outcome=write.outcome
                )
            case Confirm():
                commands.update({key: replace(commands[key], confirmed=True) for key in write.command_ids})
            case Forget():
                for command_id in write.command_ids:
                    del commands[command_id]
            case Probe():
                pass

    def close(self) -> None:
        """Do nothing: the next agent of the test finds everything."""


def _go_on(_: Sequence[Write]) -> None:
    """Do nothing."""
