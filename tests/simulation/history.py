"""The history of one simulation: what happened, in order, as seen from outside the dispatcher."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dispatcher.events.feed import Event
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
    incarnation: int | None = None
    """Which of the agents that had this id it is for; None: whichever has it."""


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
    cancelled_before: bool
    """Whether a cancel was committed before its last claim."""
    late: bool
    """Whether its deliver_by has passed."""
    waits_since: float
    """Since when nothing delays it, in seconds since 1970."""
    sent_at: float | None
    """When it was last claimed, in seconds since 1970."""
    claim: int | None
    """The history row of its last claim."""
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
    claim: int | None = None
    """The history row of the claim that it was posted for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """An agent's row."""

    epoch: int
    connection_id: str | None
    mode: str
    window: int
    lease: str | None
    last_seen: str | None
    incarnation: int
    deleted: bool


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
    first_of_claim: bool = False
    incarnation: int
    """Which of the agents that had this id opened the connection."""
    welcomed: bool
    """Whether the agent got its welcome over this connection, or needs none."""
    silent_seconds: float
    """How long the agent has said nothing over this connection since it got its first command; 0 if it said something."""
    mute_before: int
    """How many connections in a row before this one got commands and said nothing; 0 if this one said something."""
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
    cancel_confirmed: bool
    """Whether its agent said that it was cancelled."""
    redeliver_after_ack: bool
    given_up: int
    """The last attempt that its agent gave up: it failed and asked for another, or it was lost; 0: none."""
    incarnation: int | None
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
    kinds: tuple[str, ...]
    """What it says about the command, in the written order."""
    attempt: int | None
    epoch: int
    """The epoch of the connection that it came over; -1: the dispatcher does not know the connection."""
    incarnation: int
    """Which of the agents that had this id says it."""
    admitted: bool
    """Whether the agent may speak: it is approved and not deleted, and its key is not revoked."""
    repeated: bool
    """Whether an earlier try to settle this message has ended, perhaps after its commit."""
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

    @property
    def kind(self) -> str:
        """What it says, in one word."""
        return " and ".join(self.kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """An agent said what it executes; the commands of the agent before and after it."""

    agent_id: str
    incarnation: int
    """Which of the agents that had this id says it."""
    epoch: int
    """The agent's last epoch."""
    current: bool
    """Whether it came over the agent's current connection."""
    admitted: bool
    running: dict[str, int]
    before: dict[str, CommandRow]
    after: dict[str, CommandRow]
    finished: bool


@dataclass(slots=True, kw_only=True)
class SaidMessage:
    """A message with reports, and what became of it."""

    agent_id: str
    text: str
    taken: bool = False
    """Whether a function handled it to its end, or the queue of late reports keeps it."""
    kept: list[int] = field(default_factory=list[int])
    """Its places in the queue of late reports."""
    settled: list[int] = field(default_factory=list[int])
    """When it was settled."""
    settled_late: list[int] = field(default_factory=list[int])
    """When it was settled by the function that the queue invokes."""
    effects: int = 0
    """How often it changed its command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """The service confirmed a message."""

    text: str
    settled: bool
    welcomed: bool
    """Whether its connection has had a welcome."""
    """Whether the message was settled before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledProgress:
    """Progress that was settled."""

    command_id: str
    said: int
    """When the agent said it: the number of the event."""
    value: int
    stored: int | None
    """What is stored after that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopPost:
    """The service asked an agent to stop a command."""

    agent_id: str
    connection_id: str
    command_id: str
    incarnation: int
    """Of the agent that opened the connection."""
    welcomed: bool
    command: CommandRow | None
    """The command when the post began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """An agent was deleted."""

    agent_id: str
    alive: tuple[str, ...]
    """Its commands that had not ended afterwards."""


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
    untold: tuple[str, ...] = ()
    """Commands under way whose agent speaks protocol 2, is connected, and was not asked over this connection to stop them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionError:
    """A function that failed with a database error."""

    function: str
    error: str
    fault_injected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTransition:
    """A row of the table command_history."""

    history_id: int
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
    resumptions: list[Resumption] = field(default_factory=list[Resumption])
    said: list[SaidMessage] = field(default_factory=list[SaidMessage])
    confirmations: list[Confirmation] = field(default_factory=list[Confirmation])
    progress: list[SettledProgress] = field(default_factory=list[SettledProgress])
    unconfirmed: list[str] = field(default_factory=list[str])
    """Messages that agents of protocol 2 still keep at the end."""
    stops: list[StopPost] = field(default_factory=list[StopPost])
    deletions: list[Deletion] = field(default_factory=list[Deletion])
    posts_to_gone: Counter[str] = field(default_factory=Counter[str])
    """For each connection: how many posts, apart from welcomes, were answered that it is gone."""
    connection_events: list[ConnectionEvent] = field(default_factory=list[ConnectionEvent])
    delivery_rounds: list[DeliveryRound] = field(default_factory=list[DeliveryRound])
    function_errors: list[FunctionError] = field(default_factory=list[FunctionError])
    commands: list[CommandRow] = field(default_factory=list[CommandRow])
    """As they are at the end."""
    transitions: list[RecordedTransition] = field(default_factory=list[RecordedTransition])
    told: list[Event] = field(default_factory=list[Event])
    """What a reader of the change feed has read, in its order."""
    open_transactions: list[int] = field(default_factory=list[int])
    """For each call of the gateway: how many transactions were open."""
    now: int = 0

    def tick(self) -> int:
        """Return the number of the next event."""
        self.now += 1
        return self.now
