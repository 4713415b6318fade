"""The values that the service takes and returns, frozen and typed.  Written by `make generated` from the OpenAPI document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from command_dispatcher.client.core import UNSET, Unset
from command_dispatcher.client.decoding import Model

Status: TypeAlias = Literal[
    "pending", "sent", "acknowledged", "completed", "failed", "expired", "cancelled", "dead", "timed_out"
]
"""Where a command is in its life."""

EventType: TypeAlias = Literal[
    "command.accepted",
    "command.sent",
    "command.acknowledged",
    "command.pending",
    "command.completed",
    "command.failed",
    "command.expired",
    "command.cancelled",
    "command.dead",
    "command.timed_out",
    "agent.created",
    "agent.deleted",
    "agent.approved",
    "agent.rejected",
    "agent.connected",
    "agent.disconnected",
    "agent.offline",
]
"""What happened.  Each transition of a command is one event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentInfo(Model):
    """An agent and its presence."""

    agent_id: str
    platform: str
    region: str | None
    labels: Mapping[str, Any]
    facts: Mapping[str, Any]
    capacity: Any
    metadata: Any
    approval: str
    presence: str
    created_at: datetime
    registered_at: datetime | None
    connected_at: datetime | None
    last_seen_at: datetime | None
    active_sessions: int | None
    pending_count: int
    """How many commands wait for it, up to 200."""
    oldest_pending_at: datetime | None
    """When the oldest of these was accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAgent(Model):
    """An agent and its first key, which is shown once."""

    agent_id: str
    platform: str
    region: str | None
    labels: Mapping[str, Any]
    facts: Mapping[str, Any]
    capacity: Any
    metadata: Any
    approval: str
    presence: str
    created_at: datetime
    registered_at: datetime | None
    connected_at: datetime | None
    last_seen_at: datetime | None
    active_sessions: int | None
    pending_count: int
    """How many commands wait for it, up to 200."""
    oldest_pending_at: datetime | None
    """When the oldest of these was accepted."""
    api_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandInfo(Model):
    """A command, its status, and what it carries."""

    command_id: str
    agent_id: str
    session_id: str | None
    action: str
    status: str
    error_message: str | None
    created_at: datetime
    sent_at: datetime | None
    acknowledged_at: datetime | None
    completed_at: datetime | None
    priority: int
    not_before: datetime | None
    deliver_by: datetime | None
    execution_timeout_seconds: int
    max_attempts: int
    attempt: int
    cancel_requested_at: datetime | None
    cause: str
    submitted_by: str | None
    redrive_of: str | None
    correlation_id: str | None = None
    payload: Any
    result: Any
    progress: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Model):
    """Something that happened to a command or an agent.  What does not apply is left out; there may be more fields later."""

    id: str
    """The same whenever this event is read or sent again."""
    type: str
    at: datetime
    """When it was written, by the database's clock."""
    agent_id: str
    command_id: str | None = None
    action: str | None = None
    status: str | None = None
    attempt: int | None = None
    cause: str | None = None
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Key(Model):
    """One of an agent's keys, without the key."""

    key_id: str
    created_at: datetime
    created_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey(Model):
    """A new key, which is shown once."""

    key_id: str
    created_at: datetime
    created_by: str | None
    api_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentWhy(Model):
    """The one reason why an agent has nothing delivered."""

    agent_id: str
    reason: str
    sentence: str
    unblock: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry(Model):
    """One entry of the audit log."""

    at: datetime
    actor: str
    source_ip: str | None
    token_id: str | None
    action: str
    agent_id: str | None
    command_id: str | None
    command_ids: tuple[str, ...] | None
    """Commands that were submitted as one list: at most the first 100."""
    detail: Any
    """Of commands that were submitted as one list: their number as `commands`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Model):
    """A token for the header `Authorization: Bearer …`."""

    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandItem(Model):
    """A command in a list; the last three fields come only with `include`."""

    command_id: str
    agent_id: str
    session_id: str | None
    action: str
    status: str
    error_message: str | None
    created_at: datetime
    sent_at: datetime | None
    acknowledged_at: datetime | None
    completed_at: datetime | None
    priority: int
    not_before: datetime | None
    deliver_by: datetime | None
    execution_timeout_seconds: int
    max_attempts: int
    attempt: int
    cancel_requested_at: datetime | None
    cause: str
    submitted_by: str | None
    redrive_of: str | None
    correlation_id: str | None = None
    payload: Any = None
    result: Any = None
    progress: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Model):
    """A command of a list that was accepted."""

    command_id: str
    agent_id: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedList(Model):
    """The commands of a list, in its order."""

    commands: tuple[Accepted, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk(Model):
    """How many commands match, and how many were changed."""

    matched: int
    changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry(Model):
    """One transition."""

    from_status: str | None
    to_status: str
    attempt: int
    cause: str
    at: datetime
    correlation_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Why(Model):
    """The one reason why a command is where it is."""

    command_id: str
    status: str
    reason: str
    sentence: str
    unblock: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentToken(Model):
    """An enrolment token without its secret."""

    token_id: str
    agent_id: str | None
    prefix: str | None
    labels: Mapping[str, Any]
    approved: bool
    reusable: bool
    uses_left: int
    created_by: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEnrolmentToken(Model):
    """A new enrolment token, which is shown once.  Agents send it in the place of their key when they register."""

    token_id: str
    agent_id: str | None
    prefix: str | None
    labels: Mapping[str, Any]
    approved: bool
    reusable: bool
    uses_left: int
    created_by: str
    created_at: datetime
    expires_at: datetime
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage(Model):
    """Events in their order."""

    events: tuple[Event, ...]
    after: str
    """The cursor of the next page, also where there are no events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(Model):
    """One invariant, and the commands that break it."""

    check: str
    offenders: int
    some: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossReport(Model):
    """What the loss check found: clean if no invariant is broken."""

    clean: bool
    findings: tuple[Finding, ...]
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator(Model):
    """An operator with an account here."""

    username: str
    role: str
    labels: Mapping[str, Any] | None
    created_at: datetime
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence(Model):
    """Agents by presence."""

    online: int = 0
    degraded: int = 0
    offline: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute(Model):
    """What happened in one minute."""

    minute: datetime
    accepted: int
    sent: int
    completed: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview(Model):
    """Figures of the agents and commands that the operator may see."""

    at: datetime
    agents: Presence
    commands: Mapping[str, int]
    oldest_due_seconds: float
    dead_last24h: int
    series: tuple[Minute, ...]
    latency: Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo(Model):
    """A session."""

    name: str
    agent_id: str
    user: str
    template: str
    resources: Mapping[str, Any]
    persistent_home: bool
    state: str
    details: Any
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedSession(Model):
    """A session and the command that starts it."""

    name: str
    agent_id: str
    user: str
    template: str
    resources: Mapping[str, Any]
    persistent_home: bool
    state: str
    details: Any
    created_at: datetime
    updated_at: datetime
    command_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken(Model):
    """An API token without its secret."""

    token_id: str
    name: str
    role: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApiToken(Model):
    """A new API token, which is shown once."""

    token_id: str
    name: str
    role: str
    created_at: datetime
    expires_at: datetime
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook(Model):
    """A webhook without its secret."""

    webhook_id: str
    url: str
    types: tuple[str, ...] | None
    selector: str | None
    description: str | None
    labels: Mapping[str, Any] | None
    created_at: datetime
    changed_by: str
    expires_at: datetime | None
    enabled: bool
    disabled_at: datetime | None
    disabled_cause: str | None
    disabled_reason: str | None
    failures: int
    failing_since: datetime | None
    next_try_at: datetime | None
    waiting_since: datetime | None
    old_secret_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret(Model):
    """A webhook and its new secret, which is shown once."""

    webhook_id: str
    url: str
    types: tuple[str, ...] | None
    selector: str | None
    description: str | None
    labels: Mapping[str, Any] | None
    created_at: datetime
    changed_by: str
    expires_at: datetime | None
    enabled: bool
    disabled_at: datetime | None
    disabled_cause: str | None
    disabled_reason: str | None
    failures: int
    failing_since: datetime | None
    next_try_at: datetime | None
    waiting_since: datetime | None
    old_secret_until: datetime | None
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery(Model):
    """One try to deliver one message."""

    message_id: str
    event_id: str | None
    type: str
    agent_id: str | None
    attempt: int
    at: datetime
    milliseconds: int
    delivered: bool
    status: int | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial(Model):
    """What came of a test call."""

    message_id: str
    delivered: bool
    status: int | None
    error: str | None
    milliseconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Health(Model):
    """The state of the service."""

    status: str
    oldest_due_seconds: float
    feed_lag_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCommand:
    """A command, and the agent it is for."""

    action: str
    payload: Any = UNSET
    """Any JSON; the agent gets it unchanged."""
    session_id: str | Unset = UNSET
    priority: int | Unset = UNSET
    """Higher goes first; default 0."""
    ttl_seconds: int | Unset = UNSET
    """Expires if it is not delivered so long after acceptance or notBefore; default: never."""
    execution_timeout_seconds: int | Unset = UNSET
    """Times out if there is no result so long after the agent's ack; default 600."""
    max_attempts: int | Unset = UNSET
    """How often it is sent before it is dead-lettered; default 10."""
    not_before: datetime | Unset = UNSET
    """Not sent earlier; a moment of RFC 3339; one in the past means now."""
    redeliver: Literal["afterAck"] | Unset = UNSET
    """afterAck: it is sent again too when its agent acknowledged it and came back without its result; default: it is.

    not sent again after an ack.
    """
    agent_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandFilter:
    """Which commands are meant: as the parameters of the list."""

    agent_id: str | Unset = UNSET
    session_id: str | Unset = UNSET
    status: Sequence[Status] | Unset = UNSET
    """One or more, as a list or as a,b."""
    action: str | Unset = UNSET
    submitted_by: str | Unset = UNSET
    since: datetime | Unset = UNSET
    until: datetime | Unset = UNSET
    selector: str | Unset = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The resources of a session, in Kubernetes' units."""

    memory: str | Unset = UNSET
    cpu: str | Unset = UNSET
