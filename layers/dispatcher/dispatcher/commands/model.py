"""The values that the dispatcher works with, and the life of a command as data."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """Where a command is in its life."""

    PENDING = "pending"
    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    DEAD = "dead"
    TIMED_OUT = "timed_out"


class Move(StrEnum):
    """What can happen to a command."""

    CLAIM = "claim"
    RELEASE = "release"
    ACKNOWLEDGE = "acknowledge"
    RETRY = "retry"
    COMPLETE = "complete"
    FAIL = "fail"
    EXPIRE = "expire"
    CANCEL = "cancel"
    CONFIRM_CANCEL = "confirm_cancel"
    BURY = "bury"
    TIME_OUT = "time_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One move: from any of the sources to the target."""

    sources: frozenset[Status]
    target: Status


# A pending command can be acknowledged and settled as well: its agent may answer an attempt that was given up meanwhile.
# `timed_out` is the service's own guess, which the agent's real result replaces; every other end is final.
_ALIVE = frozenset({Status.PENDING, Status.SENT, Status.ACKNOWLEDGED})
TRANSITIONS: dict[Move, Transition] = {
    Move.CLAIM: Transition(sources=frozenset({Status.PENDING}), target=Status.SENT),
    Move.RELEASE: Transition(sources=frozenset({Status.SENT}), target=Status.PENDING),
    Move.ACKNOWLEDGE: Transition(sources=frozenset({Status.PENDING, Status.SENT}), target=Status.ACKNOWLEDGED),
    Move.RETRY: Transition(sources=frozenset({Status.SENT, Status.ACKNOWLEDGED}), target=Status.PENDING),
    Move.COMPLETE: Transition(sources=_ALIVE | {Status.TIMED_OUT}, target=Status.COMPLETED),
    Move.FAIL: Transition(sources=_ALIVE | {Status.TIMED_OUT}, target=Status.FAILED),
    Move.EXPIRE: Transition(sources=frozenset({Status.PENDING}), target=Status.EXPIRED),
    Move.CANCEL: Transition(sources=frozenset({Status.PENDING}), target=Status.CANCELLED),
    Move.CONFIRM_CANCEL: Transition(sources=frozenset({Status.SENT, Status.ACKNOWLEDGED}), target=Status.CANCELLED),
    Move.BURY: Transition(sources=frozenset({Status.SENT}), target=Status.DEAD),
    Move.TIME_OUT: Transition(sources=frozenset({Status.ACKNOWLEDGED}), target=Status.TIMED_OUT),
}
ENDED = frozenset(Status) - _ALIVE


def sources(move: Move) -> list[str]:
    """Return the statuses from which the move is legal, as the guards of the SQL want them."""
    return sorted(TRANSITIONS[move].sources)


class Dialect(StrEnum):
    """How an agent answers, and so how it is delivered to."""

    ACKNOWLEDGING = "acknowledging"
    """The first protocol: an ack, then the outcome.  One unacknowledged command at a time."""
    SILENT = "silent"
    """The first protocol without an ack (docker-agent): only the outcome, matched by session.  One in flight per session."""
    BATCHING = "batching"
    """The second protocol: many commands a frame, many in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command as it lies in the table."""

    command_id: str
    agent_id: str
    session_id: str | None
    action: str
    payload: Any
    status: Status
    error_message: str | None
    created_at: datetime
    sent_at: datetime | None
    acknowledged_at: datetime | None
    completed_at: datetime | None
    seq: int
    priority: int
    not_before: datetime | None
    deliver_by: datetime | None
    execution_timeout: int
    max_attempts: int
    attempt: int
    cancel_requested_at: datetime | None
    result: Any
    progress: Any
    cause: str
    submitted_by: str | None
    redrive_of: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedCommand:
    """A command that one attempt has been made for: what is needed to post it."""

    command_id: str
    attempt: int
    frame: str
    """What the agent gets: a message of its own, or its part of a batch."""
    seconds_left: float | None
    """Until its deliver_by, at the claim; None: it may wait for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The lease on one agent and the commands claimed under it, in the order of delivery."""

    agent_id: str
    token: str
    connection_id: str
    epoch: int
    dialect: Dialect
    commands: tuple[ClaimedCommand, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent as operators see it."""

    agent_id: str
    platform: str
    region: str | None
    labels: dict[str, Any]
    capacity: Any
    metadata: Any
    approval: str
    created_at: datetime
    registered_at: datetime | None
    presence: str
    connected_at: datetime | None
    last_seen_at: datetime | None
    active_sessions: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session that an agent holds."""

    name: str
    agent_id: str
    owner: str
    template: str
    resources: dict[str, Any]
    persistent_home: bool
    state: str
    details: Any
    created_at: datetime
    updated_at: datetime
