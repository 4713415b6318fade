"""Wait for commands at a terminal: a live line, or a line for each change."""

import contextlib
import sys
import time
from collections.abc import Callable, Collection, Generator, Sequence
from typing import TYPE_CHECKING, Any

from command_dispatcher.cli.output import console, plain
from command_dispatcher.cli.stopping import Exit, Stop, say
from command_dispatcher.cli.values import printable, short_json

if TYPE_CHECKING:
    from datetime import datetime

    from command_dispatcher.client import Client
    from command_dispatcher.client.models import CommandInfo

FEW = 20
"""So many commands are asked for one by one."""
WHY_SECONDS = 3.0
"""A command that waits so long gets its reason shown, and again after as long."""


SPINNER = 3
"""Columns of the moving sign before a live line."""


def outcome(statuses: Collection[str]) -> Exit:
    """Return the exit code for the ends of commands."""
    return Exit.COMPLETED if set(statuses) <= {"completed"} else Exit.FAILED


def gave_up(ids: Sequence[str], seconds: float) -> Stop:
    """Make the end for commands that did not end in time."""
    named = ids[0] if len(ids) == 1 else f"{len(ids)} commands"
    verb = "has" if len(ids) == 1 else "have"
    return Stop(
        Exit.GAVE_UP,
        f"{named} {verb} not ended within {seconds:g} seconds, and can still end.",
        f"dispatcher commands watch {ids[0]}",
        f"dispatcher commands why {ids[0]}",
    )


def watch_one(client: "Client", command_id: str, seconds: float | None) -> "CommandInfo":
    """Wait until a command has ended, and show how it goes; raises Stop after `seconds`."""
    from command_dispatcher.client.waiting import ENDED

    reasons = _Reasons(client)
    with _interruption([command_id]), _live() as show:
        for command in client.watch(command_id, seconds, on_failure=lambda failure: show(f"trying again: {failure}")):
            if command.status in ENDED:
                return command
            show(_line(command, reasons))
    raise gave_up([command_id], seconds or 0)


def watch_many(
    client: "Client", ids: Sequence[str], seconds: float | None, ended: "Callable[[CommandInfo], None]"
) -> list[str]:
    """Wait until all commands have ended, call `ended` for each, return their statuses; raises Stop after `seconds`."""
    from command_dispatcher.client.waiting import ENDED, TRANSIENT, pauses

    deadline = None if seconds is None else time.monotonic() + seconds
    since = client.commands.get(ids[0]).created_at
    waiting, statuses = list(ids), list[str]()
    with _interruption(waiting), _live() as show:
        for pause in pauses():
            try:
                asked = _maybe_ended(client, waiting, since)
            except TRANSIENT as failure:
                show(f"trying again: {failure}")
                asked = []
            for command_id in asked:
                try:
                    command = client.commands.get(command_id)
                except TRANSIENT as failure:
                    show(f"trying again: {failure}")
                    break
                if command.status in ENDED:
                    waiting.remove(command_id)
                    statuses.append(command.status)
                    ended(command)
                show(f"{len(statuses)} of {len(ids)} commands have ended, {statuses.count('completed')} completed")
            left = pause if deadline is None else deadline - time.monotonic()
            if not waiting or left <= 0:
                break
            time.sleep(min(pause, left))
    if waiting:
        raise gave_up(waiting, seconds or 0)
    return statuses


def _maybe_ended(client: "Client", waiting: Sequence[str], since: "datetime") -> list[str]:
    """Return those that are worth a look: all of a few; of many, those that are in no list of what is under way."""
    if len(waiting) <= FEW:
        return list(waiting)
    under_way = client.commands.list(status=["pending", "sent", "acknowledged"], since=since, limit=200)
    known = {command.command_id for command in under_way}
    return [command_id for command_id in waiting if command_id not in known]


class _Reasons:
    """Asks why a command waits, not more often than useful."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._asked = time.monotonic()
        self._sentence = ""

    def of(self, command: "CommandInfo") -> str:
        from command_dispatcher.client import DispatcherError

        if time.monotonic() - self._asked >= WHY_SECONDS:
            self._asked = time.monotonic()
            with contextlib.suppress(DispatcherError):
                self._sentence = self._client.commands.why(command.command_id).sentence
        return self._sentence


def _line(command: "CommandInfo", reasons: _Reasons) -> str:
    said = command.status
    if command.attempt > 1:
        said += f", attempt {command.attempt}"
    progress: Any = command.progress
    if progress is not None:
        said += f": {short_json(progress)}"
    elif command.status == "pending":
        reason = reasons.of(command)
        said += f": {reason}" if reason else ""
    return said


@contextlib.contextmanager
def _live() -> "Generator[Callable[[str], None]]":
    """Yield a function that shows the present state: one live line, or each new state on a line of its own."""
    if sys.stderr.isatty() and not plain():
        from rich.text import Text

        screen = console(stderr=True)
        with screen.status("") as status:

            def update(line: str) -> None:
                text = Text(printable(line), no_wrap=True)
                text.truncate(screen.width - SPINNER, overflow="ellipsis")
                status.update(text)

            yield update
        return
    last: list[str] = []

    def tell(line: str) -> None:
        if last != [line]:
            last[:] = [line]
            say(line)

    yield tell


@contextlib.contextmanager
def _interruption(ids: Sequence[str]) -> Generator[None]:
    """Say at Ctrl-C that the commands go on."""
    try:
        yield
    except KeyboardInterrupt:
        if ids:
            say(f"\nNo longer waiting; the {'command goes' if len(ids) == 1 else 'commands go'} on.")
            say(f"next: dispatcher commands watch {ids[0]}, or dispatcher commands cancel {ids[0]}")
        raise SystemExit(Exit.INTERRUPTED) from None
