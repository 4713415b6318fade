"""The history of one simulation: what happened, in order, as seen from outside the dispatcher."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dispatcher.platform.gateway import Posted


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """An operator's request to submit a command, and its outcome."""

    action: str
    agent_id: str
    operator: str | None
    key: str | None
    """The idempotency key."""
    body: str
    payload: Any
    outcome: str
    """accepted (a 202, or the commit of an inserted row), refused, or unknown: no answer came."""
    command_id: str | None = None
    reason: str | None = None
    """The name of the error, if it was refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedCommand:
    """A pending or sent command, as its row was when a post began."""

    command_id: str
    status: str
    attempt: int
    session_id: str | None
    priority: int
    seq: int
    due: bool
    late: bool
    """Whether its deliver_by has passed."""
    ack_seconds_left: float | None
    """Of a sent command: how long its agent still has for the ack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedCommand:
    """A command in a post."""

    command_id: str
    attempt: int
    action: Any
    payload: Any
    named_attempt: int | None = None
    """The attempt that the message names; None in messages of protocol 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """An agent's row."""

    epoch: int
    connection_id: str | None
    mode: str
    window: int
    lease: str | None
    last_seen: str | None


@dataclass(slots=True, kw_only=True)
class Post:
    """One call of the gateway, and the agent and its queue as they were when the call began."""

    begun_at: int
    ended_at: int = 0
    clock: float
    """Seconds on the functions' clock when it began."""
    agent_id: str
    connection_id: str
    agent: AgentRow
    first_of_lease: bool = False
    commands: tuple[PostedCommand, ...] = ()
    queue: tuple[QueuedCommand, ...]
    arrived: bool = False
    answer: Posted | None = None
    """None if the process was killed before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultEvent:
    """An injected fault, or another event that may cause a second delivery; agent None: it may concern every agent."""

    at: int
    kind: str
    agent_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRow:
    """A command's row, before or after a report or at the end."""

    command_id: str
    agent_id: str
    action: str
    session_id: str | None
    status: str
    attempt: int
    max_attempts: int
    epoch: int | None
    first_epoch: int | None
    """The epoch of the first connection that it was claimed for."""
    seq: int
    cancel_requested: bool
    created_at: datetime
    sent_at: datetime | None
    acknowledged_at: datetime | None
    completed_at: datetime | None
    submitted_by: str | None
    idempotency_key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """An agent's report about one command, and what it changed."""

    agent_id: str
    kind: str
    attempt: int | None
    epoch: int
    """The epoch of the connection that it came over; -1: the dispatcher does not know the connection."""
    command_id: str | None
    """None if the report names a session that has no command under way."""
    before: CommandRow | None
    after: CommandRow | None
    others_changed: tuple[str, ...]
    """Other commands that changed at the same time."""
    finished: bool
    """Whether the function ran to its end."""
    logged_success: bool
    logged_warning: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionEvent:
    """A message or $disconnect event of one connection, and the agent before and after it."""

    agent_id: str
    connection_id: str
    kind: str
    epoch: int
    """The connection's epoch before the event; -1: the dispatcher did not know the connection."""
    before: AgentRow
    after: AgentRow


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRound:
    """A sweep or a submission, after which everything that can be delivered must have been."""

    kind: str
    undisturbed: bool
    """Whether it finished, and no fault was injected meanwhile."""
    failed_passes: int
    stuck: tuple[str, ...]
    """Pending commands of connected agents that nothing delays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionError:
    """A function that failed with a database error."""

    function: str
    error: str
    fault_injected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTransition:
    """A row of the table command_history."""

    command_id: str
    from_status: str | None
    to_status: str
    attempt: int
    cause: str
    at: datetime


@dataclass(slots=True)
class History:
    """Everything that the invariants are checked on."""

    submissions: list[Submission] = field(default_factory=list[Submission])
    posts: list[Post] = field(default_factory=list[Post])
    faults: list[FaultEvent] = field(default_factory=list[FaultEvent])
    reports: list[AgentReport] = field(default_factory=list[AgentReport])
    connection_events: list[ConnectionEvent] = field(default_factory=list[ConnectionEvent])
    delivery_rounds: list[DeliveryRound] = field(default_factory=list[DeliveryRound])
    function_errors: list[FunctionError] = field(default_factory=list[FunctionError])
    commands: list[CommandRow] = field(default_factory=list[CommandRow])
    """As they are at the end."""
    transitions: list[RecordedTransition] = field(default_factory=list[RecordedTransition])
    open_transactions: list[int] = field(default_factory=list[int])
    """For each call of the gateway: how many transactions were open."""
    now: int = 0

    def tick(self) -> int:
        """Return the number of the next event."""
        self.now += 1
        return self.now
