"""What the agent stores, as values: the pure part of the agent makes them, a storage commits them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from .messages import Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended; `body` is JSON.  A handler that was told to stop and did so has `stopped`."""

    kind: Literal["complete", "failed", "cancelled", "stopped"]
    body: str | None = None
    retryable: bool = False
    retry_after: float = 0.0
    """Seconds before another attempt may begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """The command is about to be acknowledged: from its commit on this agent owns it."""

    delivery: Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The command, which is executed already, was delivered again."""

    command_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """The command's handler is about to run."""

    command_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The command has ended; its report goes to the outbox in the same transaction."""

    delivery: Delivery
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """The service has committed the ends of these commands: they leave the outbox."""

    command_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """These commands ended and were confirmed so long ago that they do not come again."""

    command_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Find out whether there is room for a command and its result; changes nothing."""


Write = Accept | Attempt | Begin | End | Confirm | Forget | Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCommand:
    """A command of the state file."""

    delivery: Delivery
    state: Literal["accepted", "running", "ended"]
    outcome: Outcome | None = None
    confirmed: bool = False


class Storage(Protocol):
    """Where an agent's commands outlive its process."""

    def load(self) -> list[StoredCommand]:
        """Return all stored commands, in the order of their acceptance."""
        ...

    def commit(self, writes: Sequence[Write]) -> None:
        """Store everything in one transaction, durably; raises StorageFailed, and then nothing of it is stored."""
        ...

    def close(self) -> None:
        """Give the state back."""
        ...
