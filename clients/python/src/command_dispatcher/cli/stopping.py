"""How a command of the command line ends: exit codes, and errors that name the next step."""

import os
import sys
from collections.abc import Sequence
from enum import IntEnum

from command_dispatcher.cli.values import printable


class Exit(IntEnum):
    """The exit codes, the same for every command."""

    COMPLETED = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    GAVE_UP = 5
    INTERRUPTED = 130
    PIPE_CLOSED = 141


class Stop(Exception):
    """The command ends here; the text says why, and `hints` what to do next."""

    def __init__(self, code: Exit, message: str, *hints: str) -> None:
        super().__init__(message)
        self.code = code
        self.hints = hints


def usage(message: str, *hints: str) -> Stop:
    """Make the end for a wrong use."""
    return Stop(Exit.USAGE, message, *hints)


def say(text: str) -> None:
    """Tell the person at the terminal something that is not data."""
    try:
        sys.stderr.write(printable(text, keep_lines=True) + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        end_quietly()


def end_quietly() -> None:
    """End because nobody reads the output any more."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    raise SystemExit(Exit.PIPE_CLOSED)


def report(message: str, hints: Sequence[str] = ()) -> None:
    """Print an error and the next steps."""
    say(f"error: {message}")
    for hint in hints:
        say(f"next: {hint}")
