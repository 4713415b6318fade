"""The command that a handler gets."""

import json
import threading
from collections.abc import Callable, Generator
from functools import cached_property
from typing import Any

from .messages import BODY_BYTES, Delivery


class Cancellation(threading.Event):
    """Whether a command is to stop; true as soon as it is, and `wait` blocks until then."""

    def __bool__(self) -> bool:
        return self.is_set()


class Command:
    """One command, for as long as its handler runs."""

    def __init__(self, delivery: Delivery, *, resumed: bool, say: Callable[[str, str], None]) -> None:
        self._delivery = delivery
        self._say = say
        self.cancelled = Cancellation()
        """True once the command is to stop: an operator cancelled it, its execution timeout passed, or the agent ends."""
        self.resumed = resumed
        """Whether its handler ran before, and was interrupted by the end of the agent."""

    @property
    def id(self) -> str:
        """The command's id: the same however often it is delivered."""
        return self._delivery.command_id

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1."""
        return self._delivery.attempt

    @property
    def action(self) -> str:
        """What is to be done."""
        return self._delivery.action

    @cached_property
    def payload(self) -> Any:
        """The JSON value that the operator sent; an empty object if there was none."""
        return json.loads(self._delivery.payload)

    @property
    def session_id(self) -> str | None:
        """The session that the command is about."""
        return self._delivery.session_id

    def progress(self, progress: Any) -> "_Said":
        """Report progress, any JSON; it starts the execution timeout again.  May be awaited, and need not be.

        A newer report replaces one that was not sent yet.  Raises TypeError or ValueError if it is not JSON, or too large.
        """
        self._say(self.id, encode_body(progress, "progress"))
        return _Said()

    def __repr__(self) -> str:
        return f"<Command {self.id} {self.action!r} attempt {self.attempt}>"


class _Said:
    """What `progress` returns, so that both kinds of handlers can call it."""

    def __await__(self) -> Generator[None]:
        yield


def encode_body(value: Any, what: str) -> str:
    """Encode a result or progress as JSON; raises TypeError or ValueError, which say what is wrong."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise type(error)(f"the {what} is not JSON: {error}") from None
    if len(text) > BODY_BYTES:
        raise ValueError(f"the {what} has {len(text)} bytes as JSON; at most {BODY_BYTES} fit into a message")
    return text
