"""The messages that agents get, made of what was claimed."""

from collections.abc import Iterator
from dataclasses import dataclass

from dispatcher.commands.model import Claim, ClaimedCommand, Dialect
from dispatcher.platform.json_text import dumps

FRAME_BYTES = 128 * 1024
"""The largest message that API Gateway carries, in either direction."""

_OPEN, _CLOSE = '{"type": "commands", "commands": [', "]}"
ENVELOPE_BYTES = len(_OPEN) + len(_CLOSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, and the commands in it."""

    text: str
    commands: tuple[ClaimedCommand, ...]


def of(claim: Claim) -> Iterator[Message]:
    """Make the messages of a claim, in order: one a command, or as many in each as fit for agents that take batches."""
    if claim.dialect is not Dialect.BATCHING:
        for command in claim.commands:
            yield Message(text=command.frame, commands=(command,))
        return
    batch: list[ClaimedCommand] = []
    size = ENVELOPE_BYTES
    for command in claim.commands:
        more = len(command.frame.encode()) + 2  # with the comma and space before it
        if batch and size + more > FRAME_BYTES:
            yield _batch(batch)
            batch, size = [], ENVELOPE_BYTES
        batch.append(command)
        size += more
    if batch:
        yield _batch(batch)


def _batch(commands: list[ClaimedCommand]) -> Message:
    # The parts are JSON already: the database made them, and nothing decodes them on their way.
    return Message(text=_OPEN + ", ".join(command.frame for command in commands) + _CLOSE, commands=tuple(commands))


def cancel(command_id: str, attempt: int) -> str:
    """Make the request to cancel an attempt."""
    return dumps({"type": "cancel", "commandId": command_id, "attempt": attempt})
