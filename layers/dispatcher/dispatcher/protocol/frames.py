"""The messages that agents get: texts that SQL built (see commands/frames.function.sql), put together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dispatcher.platform.json_text import dumps
from dispatcher.protocol.handshake import DeliveryMode

MESSAGE_BYTES = 128 * 1024
"""The largest message that API Gateway carries, in either direction."""

RECONNECT_SECONDS, RECONNECT_SPREAD_SECONDS = 1, 30
"""How an agent of protocol 2 reconnects: after the first number of seconds, and up to the second number later, at random."""

_OPEN, _CLOSE = '{"type": "commands", "commands": [', "]}"
_OPEN_RECEIVED = '{{"type": "commands", "received": {}, "commands": ['
ENVELOPE_BYTES = len(_OPEN) + len(_CLOSE)


class ClaimedCommand(NamedTuple):
    """One attempt of a command, ready to be posted: the last columns of a row `command` (see `claim.function.sql`).

    A tuple, because a claim has up to a hundred of them.
    """

    command_id: str
    attempt: int
    moves: int
    """How many moves the command has made, with the claim: no other claim of it has the same number."""
    frame: str
    """JSON: a whole message, or for agents that take batches one entry of it.  The database builds it, so that numbers keep
    their digits."""
    seconds_left: float | None
    """Seconds until its `deliver_by`, counted from the claim; None: it may wait for ever."""
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, and the commands in it."""

    text: str
    commands: tuple[ClaimedCommand, ...]
    confirms: bool = False
    """Whether it also says which messages of the agent are received."""


def messages_of(
    mode: DeliveryMode, commands: Sequence[ClaimedCommand], received: Sequence[str] = ()
) -> Iterator[Message]:
    """Make the messages for commands, in order: one for each command, or batches of up to MESSAGE_BYTES.

    The first batch also says which messages of the agent are `received`, unless its first command leaves no room for it.
    """
    if mode is not DeliveryMode.BATCHING:
        for command in commands:
            yield Message(text=command.frame, commands=(command,))
        return
    batch: list[ClaimedCommand] = []
    confirms = bool(received)
    opening = _OPEN_RECEIVED.format(dumps(list(received))) if confirms else _OPEN
    size = bytes_of(opening) + len(_CLOSE)
    for command in commands:
        more = bytes_of(command.frame) + 2  # with the comma and the space before it
        if size + more > MESSAGE_BYTES and (batch or confirms):
            if batch:
                yield _batch(opening, batch, confirms=confirms)
            batch, opening, confirms, size = [], _OPEN, False, ENVELOPE_BYTES
        batch.append(command)
        size += more
    if batch:
        yield _batch(opening, batch, confirms=confirms)


def bytes_of(text: str) -> int:
    """Return how many bytes a text takes as UTF-8; most texts need not be encoded for that."""
    return len(text) if text.isascii() else len(text.encode())


def stop_message(command_id: str, attempt: int) -> str:
    """Make the request to stop a command (protocol 2): an operator cancelled it, or its execution timeout has passed."""
    return dumps({"type": "cancel", "commandId": command_id, "attempt": attempt})


def welcome_message(*, epoch: int, heartbeat_seconds: int, move_after_seconds: int) -> str:
    """Make the first message to an agent of protocol 2: its rhythm, and how it reconnects."""
    return dumps(
        {
            "type": "welcome",
            "epoch": epoch,
            "heartbeatSeconds": heartbeat_seconds,
            "moveAfterSeconds": move_after_seconds,
            "reconnect": {"minSeconds": RECONNECT_SECONDS, "spreadSeconds": RECONNECT_SPREAD_SECONDS},
        }
    )


def received_message(message_id: str) -> str:
    """Make the confirmation that the reports of a message are committed (protocol 2)."""
    return dumps({"type": "received", "id": message_id})


def _batch(opening: str, commands: list[ClaimedCommand], *, confirms: bool) -> Message:
    text = opening + ", ".join(command.frame for command in commands) + _CLOSE
    return Message(text=text, commands=tuple(commands), confirms=confirms)
