"""The commands that wait, run and have ended: each is executed once, however often it is delivered."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from .wire_format import Command, Report

REMEMBERED = 1000
"""How many ends are kept for commands that are delivered again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a command ended: complete with a result, failed with an error, or cancelled."""

    kind: str
    body: Any = None


class WorkQueue:
    """The commands of one agent, in the order of their arrival."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._waiting: dict[str, Command] = {}
        self._running: Command | None = None
        self._ended: OrderedDict[str, End] = OrderedDict()

    def receive(self, command: Command) -> list[Report]:
        """Take a delivery; return the reports to send at once."""
        if self._running is not None and self._running.command_id == command.command_id:
            self._running = command
            return [_report(command, "ack")]
        end = self._ended.get(command.command_id)
        if end is not None:
            return [_report(command, "ack"), _report(command, end.kind, end.body)]
        self._waiting[command.command_id] = command  # a command that waits already keeps its place
        return []

    def begin(self) -> tuple[Command, Report] | None:
        """Return the next command to execute and its ack; None when no command waits."""
        if not self._waiting:
            return None
        self._running = self._waiting.pop(next(iter(self._waiting)))
        return self._running, _report(self._running, "ack")

    def running(self) -> list[tuple[str, int]]:
        """Return what is executed now: command id and attempt."""
        return [] if self._running is None else [(self._running.command_id, self._running.attempt)]

    def progress(self, body: Any) -> Report:
        """Return a report of progress of the running command; LookupError if none runs."""
        return _report(self._require_running(), "progress", body)

    def end(self, end: End) -> Report:
        """End the running command; return the report, with the attempt that was delivered last."""
        command = self._require_running()
        self._running = None
        return self._end(command, end)

    def cancel(self, command_id: str) -> list[Report]:
        """Drop a waiting command; return the reports to send: none for a command that runs or is unknown."""
        command = self._waiting.pop(command_id, None)
        return [] if command is None else [self._end(command, End(kind="cancelled"))]

    def _require_running(self) -> Command:
        if self._running is None:
            raise LookupError("no command is running")
        return self._running

    def _end(self, command: Command, end: End) -> Report:
        self._ended[command.command_id] = end
        if len(self._ended) > self._remembered:
            self._ended.popitem(last=False)
        return _report(command, end.kind, end.body)


def _report(command: Command, kind: str, body: Any = None) -> Report:
    return Report(kind=kind, command_id=command.command_id, attempt=command.attempt, body=body)
