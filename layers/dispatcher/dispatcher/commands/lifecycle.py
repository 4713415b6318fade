"""The life of a command as data: its statuses, and every move between them.

The SQL of a move writes its source statuses out, and counts the move (`moves = moves + 1`): a status that changes without it
was changed by hand.  A test proves over all pairs that the SQL and TRANSITIONS agree.
"""

from dataclasses import dataclass
from enum import StrEnum


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
    DEAD_LETTER = "dead_letter"
    TIME_OUT = "time_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One move: from any of the sources to the target."""

    sources: frozenset[Status]
    target: Status


# A pending command can be acknowledged and ended too: its agent may answer an attempt that was given up meanwhile.
ALIVE = frozenset({Status.PENDING, Status.SENT, Status.ACKNOWLEDGED})
# Ends that the service only guesses, so the agent's real result replaces them: after an attempt, and `cancelled` only if the
# agent did not confirm it.  Every other end is final.
GUESSED = frozenset({Status.TIMED_OUT, Status.DEAD, Status.EXPIRED, Status.CANCELLED})
TRANSITIONS: dict[Move, Transition] = {
    Move.CLAIM: Transition(sources=frozenset({Status.PENDING}), target=Status.SENT),
    Move.RELEASE: Transition(sources=frozenset({Status.SENT}), target=Status.PENDING),
    Move.ACKNOWLEDGE: Transition(sources=frozenset({Status.PENDING, Status.SENT}), target=Status.ACKNOWLEDGED),
    Move.RETRY: Transition(sources=frozenset({Status.SENT, Status.ACKNOWLEDGED}), target=Status.PENDING),
    Move.COMPLETE: Transition(sources=ALIVE | GUESSED, target=Status.COMPLETED),
    Move.FAIL: Transition(sources=ALIVE | GUESSED, target=Status.FAILED),
    Move.EXPIRE: Transition(sources=frozenset({Status.PENDING}), target=Status.EXPIRED),
    Move.CANCEL: Transition(sources=ALIVE, target=Status.CANCELLED),
    Move.CONFIRM_CANCEL: Transition(
        sources=frozenset({Status.SENT, Status.ACKNOWLEDGED, Status.TIMED_OUT}), target=Status.CANCELLED
    ),
    Move.DEAD_LETTER: Transition(sources=frozenset({Status.SENT}), target=Status.DEAD),
    Move.TIME_OUT: Transition(sources=frozenset({Status.ACKNOWLEDGED}), target=Status.TIMED_OUT),
}
ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.EXPIRED, Status.CANCELLED, Status.DEAD, Status.TIMED_OUT})
