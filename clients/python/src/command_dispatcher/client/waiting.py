"""When a command has ended, and how often to ask."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from command_dispatcher.client.errors import CommandFailed, DispatcherError, ServiceFailed, TooManyRequests, Unreachable

if TYPE_CHECKING:
    from command_dispatcher.client.models import CommandInfo

COMPLETED = "completed"
ENDED = frozenset({COMPLETED, "failed", "expired", "cancelled", "dead", "timed_out"})
"""Statuses that are an end."""
LONGEST_WAIT = 20
"""Seconds that the service waits for an event before it answers with none."""
AT_ONCE = 1.0
"""An answer within so many seconds did not wait for an event."""
TRANSIENT = (Unreachable, ServiceFailed, TooManyRequests)
"""What a program that waits for hours may survive."""
OnFailure: TypeAlias = Callable[[DispatcherError], None]
_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 2.0


def pauses() -> Iterator[float]:
    """Yield the seconds between two questions: short at first, two seconds later on, without an end."""
    seconds = _FIRST_SECONDS
    while True:
        yield seconds
        seconds = min(seconds * 1.5, _LONGEST_SECONDS)


def result_of(command: "CommandInfo") -> Any:
    """Return the result of a command that has ended; raises CommandFailed."""
    if command.status != COMPLETED:
        raise CommandFailed(command.command_id, command.status, command.error_message or command.cause or None)
    return command.result
