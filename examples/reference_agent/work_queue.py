"""Which commands of an agent wait, run and have ended: each is executed once, however often it is delivered."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from examples.reference_agent.vocabulary import Command, Report

REMEMBERED = 1000
"""How many outcomes are kept for commands that come a second time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended: complete with a result, failed with an error, or cancelled."""

    kind: str
    body: Any = None


class Ledger:
    """The commands of one agent, in the order of their arrival."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        """Remember so many outcomes."""
        self._remembered = remembered
        self._waiting: dict[str, Command] = {}
        self._running: Command | None = None
        self._ended: OrderedDict[str, Outcome] = OrderedDict()

    def receive(self, command: Command) -> list[Report]:
        """Take a delivery; return what is to be said about it at once."""
        if self._running is not None and self._running.command_id == command.command_id:
            self._running = command
            return [_ack(command)]
        outcome = self._ended.get(command.command_id)
        if outcome is not None:
            return [_ack(command), _end(command, outcome)]
        self._waiting[command.command_id] = command  # one that waits already keeps its place
        return []

    def begin(self) -> tuple[Command, Report] | None:
        """Let the next command run; return it with its acknowledgement, None when there is none."""
        if not self._waiting:
            return None
        self._running = self._waiting.pop(next(iter(self._waiting)))
        return self._running, _ack(self._running)

    def progress(self, body: Any) -> Report | None:
        """Return the report that the running command goes on, None when there is none."""
        return None if self._running is None else _report(self._running, "progress", body)

    def end(self, outcome: Outcome) -> Report:
        """End the running command; return the report, with the attempt in which it was delivered last."""
        command, self._running = self._running, None
        if command is None:
            raise LookupError("no command is running")
        self._remember(command, outcome)
        return _end(command, outcome)

    def cancel(self, command_id: str) -> list[Report]:
        """Drop a command that has not begun; return what is to be said: nothing where it runs, or is not known."""
        command = self._waiting.pop(command_id, None)
        if command is None:
            return []
        outcome = Outcome(kind="cancelled")
        self._remember(command, outcome)
        return [_end(command, outcome)]

    def _remember(self, command: Command, outcome: Outcome) -> None:
        self._ended[command.command_id] = outcome
        if len(self._ended) > self._remembered:
            self._ended.popitem(last=False)


def _ack(command: Command) -> Report:
    return _report(command, "ack", None)


def _end(command: Command, outcome: Outcome) -> Report:
    return _report(command, outcome.kind, outcome.body)


def _report(command: Command, kind: str, body: Any) -> Report:
    return Report(kind=kind, command_id=command.command_id, attempt=command.attempt, body=body)
