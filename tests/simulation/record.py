"""What is written down about a history: seen from outside where that is possible, read from the rows otherwise."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A request of an operator's, and what became of it."""

    at: int
    action: str
    agent_id: str
    operator: str | None
    key: str | None
    body: str
    payload: Any
    outcome: str
    """accepted (a 202, or the commit of a row), refused, or unknown: the answer never came."""
    command_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A command that had not ended, as its row was when a post began."""

    command_id: str
    status: str
    attempt: int
    max_attempts: int
    session_id: str | None
    priority: int
    seq: int
    due: bool
    late: bool
    held: float | None
    """Seconds for which it may still be unacknowledged, where it is in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A command in a post."""

    command_id: str
    attempt: int
    action: Any
    payload: Any
    named_attempt: int | None = None
    """The attempt that the frame names, where it names one."""


@dataclass(slots=True, kw_only=True)
class Post:
    """One call of the gateway, and the queue of its agent as it was when the call began."""

    at: int
    clock: float
    agent_id: str
    connection_id: str
    current: str | None
    """The agent's connection, according to its row."""
    dialect: str
    window: int
    lease: str | None
    first: bool
    """Whether this lease has posted nothing before."""
    open_transactions: int
    carried: tuple[Carried, ...]
    queue: tuple[Queued, ...]
    arrived: bool = False
    until: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that may make a duplicate: a fault, time that passed, a new connection."""

    at: int
    kind: str
    agent_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A command's row, as a report of an agent found or left it."""

    agent_id: str
    session_id: str | None
    status: str
    attempt: int
    max_attempts: int
    epoch: int | None
    first_epoch: int | None
    """The first connection that it was claimed for."""
    seq: int
    cancel_requested: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A report of an agent about one command, and what it moved."""

    at: int
    agent_id: str
    kind: str
    attempt: int | None
    epoch: int
    """Of the connection that it came over; -1: of none that is known."""
    command_id: str | None
    """The one that is meant: None where the report names a session in which nothing is under way."""
    before: Row | None
    after: Row | None
    others: tuple[str, ...]
    """Other commands that changed meanwhile."""
    certain: bool
    """Whether the function ran to its end."""
    claimed_success: bool
    """Whether the service logged that it settled a command."""
    warned: bool
    """Whether it logged that something moved nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where an agent's commands go."""

    epoch: int
    connection_id: str | None
    dialect: str
    window: int
    last_seen: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """An event of one connection, and the agent's route before and after it."""

    at: int
    agent_id: str
    connection_id: str
    what: str
    epoch: int
    """Of the connection, as the service knew it before; -1: it did not."""
    before: Route
    after: Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep, or a submission; `stuck` are commands that nothing holds back, which it left pending with agents connected."""

    at: int
    what: str
    clean: bool
    failed_passes: int
    stuck: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A function that failed with a database error."""

    at: int
    function: str
    error: str
    struck: bool
    """Whether a fault was injected into it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """A command's row at the end."""

    command_id: str
    agent_id: str
    action: str
    status: str
    attempt: int
    max_attempts: int
    seq: int
    created_at: datetime
    sent_at: datetime | None
    acknowledged_at: datetime | None
    completed_at: datetime | None
    deliver_by: datetime | None
    error_message: str | None
    submitted_by: str | None
    idempotency_key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A row of the command history."""

    command_id: str
    from_status: str | None
    to_status: str
    attempt: int
    cause: str
    at: datetime


@dataclass(slots=True)
class Record:
    """A whole history."""

    submissions: list[Submission] = field(default_factory=list[Submission])
    posts: list[Post] = field(default_factory=list[Post])
    troubles: list[Trouble] = field(default_factory=list[Trouble])
    told: list[Told] = field(default_factory=list[Told])
    visits: list[Visit] = field(default_factory=list[Visit])
    sweeps: list[Sweep] = field(default_factory=list[Sweep])
    failures: list[Failure] = field(default_factory=list[Failure])
    finals: dict[str, Final] = field(default_factory=dict[str, Final])
    history: list[Moved] = field(default_factory=list[Moved])
    calls: list[int] = field(default_factory=list[int])
    """For each use of the network: how many transactions were open."""
    now: int = 0

    def tick(self) -> int:
        """Number what happens."""
        self.now += 1
        return self.now
