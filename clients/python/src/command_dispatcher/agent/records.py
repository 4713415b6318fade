"""The records of an agent's commands: those that it has taken, and those that have ended."""

import json
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Literal, Protocol

from .messages import Delivery, Report
from .writes import Outcome

INTERRUPTED = "interrupted: the agent ended while it executed this command, which may be half done"


class Clock(Protocol):
    """The time; a test has its own."""

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        ...

    def now(self) -> datetime:
        """Return the moment, with its time zone."""
        ...


class Catalogue(Protocol):
    """The actions that the agent knows."""

    def knows(self, action: object) -> bool:
        """Tell whether there is a handler."""
        ...

    def is_concurrent(self, action: object) -> bool:
        """Tell whether the action depends on no order."""
        ...

    def is_idempotent(self, action: object) -> bool:
        """Tell whether the action may be executed again after it was interrupted."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Run the handler; `resumed`: it ran before, until the agent ended."""

    delivery: Delivery
    resumed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Ask the handler to stop."""

    command_id: str


class Phase(Enum):
    """How far a command has come at this agent."""

    WAITING = auto()  # in memory only; the service knows that it is not acknowledged
    ACCEPTING = auto()  # being stored
    ACCEPTED = auto()
    BEGINNING = auto()  # being stored
    RUNNING = auto()
    ENDING = auto()  # being stored
    UNSAVED = auto()  # has ended, but could not be stored
    LEFT = auto()  # stopped with the agent; the next process resumes it


NOT_OURS = {Phase.WAITING, Phase.ACCEPTING}
BUSY = {Phase.ACCEPTING, Phase.BEGINNING, Phase.RUNNING}


@dataclass(slots=True)
class Active:
    """A command that has not ended, or whose end is not stored."""

    delivery: Delivery
    phase: Phase = Phase.WAITING
    acknowledged: int = 0
    outcome: Outcome | None = None
    resumed: bool = False
    held: bool = False
    waited: bool = False
    not_before: float = 0.0
    alive_at: float = 0.0
    deadline: float = 0.0
    stop: Literal["cancel", "timeout", "shutdown"] | None = None
    progress: str | None = None
    progress_at: float = 0.0


@dataclass(slots=True)
class Ended:
    """A command that has ended; its end is stored."""

    delivery: Delivery
    outcome: Outcome
    ended_at: float
    confirmed: bool = False


def progress_report(record: Active) -> Report:
    """Return the report of a command's last progress."""
    delivery = record.delivery
    return Report(kind="progress", command_id=delivery.command_id, attempt=delivery.attempt, body=record.progress)


def failed(reason: str) -> Outcome:
    """Return a failure for this reason."""
    return Outcome(kind="failed", body=json.dumps(reason))


def stopped(record: Active) -> Outcome:
    """Return the outcome of a handler that stopped, by what it was asked to stop for."""
    match record.stop:
        case "cancel":
            return Outcome(kind="cancelled")
        case "timeout":
            return failed(f"stopped after its execution timeout of {record.delivery.execution_seconds:g} s")
        case "shutdown":
            return failed("interrupted: the agent was stopped while it executed this command, which may be half done")
        case None:
            return failed("the handler cancelled itself")


def end_report(ended: Ended) -> Report:
    """Return the report of a command's end."""
    outcome = ended.outcome
    return Report(
        kind=outcome.kind,
        command_id=ended.delivery.command_id,
        attempt=ended.delivery.attempt,
        body=outcome.body,
        retryable=outcome.retryable,
    )
