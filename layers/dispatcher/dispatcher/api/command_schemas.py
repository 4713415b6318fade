"""Bodies about commands."""

from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, FailFast, Field, RootModel, Strict

from dispatcher.agents import selectors
from dispatcher.api.schema_base import (
    WHOLE,
    Document,
    Moment,
    Name,
    Request,
    SelectorText,
    Shown,
    ShownText,
    Word,
)
from dispatcher.commands.bulk import BulkChange
from dispatcher.commands.command_lists import Filter
from dispatcher.commands.lifecycle import Status
from dispatcher.commands.submission import TTL_MOST, NewCommand


def _parts(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


Statuses = Annotated[
    list[Annotated[Status, Strict(strict=False)]], BeforeValidator(_parts), Field(min_length=1, max_length=len(Status))
]
"""Statuses, as a list or joined by commas."""


class SubmitRequest(Request):
    """A command for one agent."""

    action: Word
    payload: Any = Field(None, description="Any JSON; the agent gets it unchanged.")
    session_id: Name | None = None
    priority: Annotated[int, Field(ge=-100, le=100), WHOLE] | None = Field(
        None, description="Higher goes first; default 0."
    )
    ttl_seconds: Annotated[int, Field(ge=1, le=TTL_MOST), WHOLE] | None = Field(
        None, description="Expires if it is not delivered so long after acceptance or notBefore; default: never."
    )
    execution_timeout_seconds: Annotated[int, Field(ge=1, le=604_800), WHOLE] | None = Field(
        None, description="Times out if there is no result so long after the agent's ack; default 600."
    )
    max_attempts: Annotated[int, Field(ge=1, le=1000), WHOLE] | None = Field(
        None, description="How often it is sent before it is dead-lettered; default 10."
    )
    not_before: Moment | None = Field(
        None, description="Not sent earlier; a moment of RFC 3339; one in the past means now."
    )
    redeliver: Literal["afterAck"] | None = Field(
        None,
        description="afterAck: it is sent again too when its agent acknowledged it and came back without its result;"
        " default: it is not sent again after an ack.",
    )

    def to_command(self, agent_id: str, idempotency_key: str | None = None) -> NewCommand:
        """Return the command to submit."""
        return NewCommand(
            agent_id,
            self.action,
            self.payload,
            self.session_id,
            self.priority,
            self.not_before,
            self.ttl_seconds,
            self.execution_timeout_seconds,
            self.max_attempts,
            self.redeliver == "afterAck",
            idempotency_key,
        )


class SubmitToRequest(SubmitRequest):
    """A command, and the agent it is for."""

    agent_id: Name


class SubmitListRequest(RootModel[list[SubmitToRequest]]):
    """Commands, each for its agent.  Only the first command that does not have its form is named."""

    root: Annotated[list[SubmitToRequest], FailFast()] = Field(min_length=1, max_length=1000)


class RedriveRequest(Request):
    """How to submit a command again."""

    ttl_seconds: Annotated[int, Field(ge=1, le=TTL_MOST), WHOLE] | None = Field(
        None,
        description="Expires if it is not delivered so long after acceptance; default: as long as the old command.",
    )


class FilterRequest(Request):
    """Which commands are meant: as the parameters of the list."""

    agent_id: str | None = None
    session_id: str | None = None
    status: Statuses | None = Field(None, description="One or more, as a list or as a,b.")
    action: str | None = None
    submitted_by: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    selector: SelectorText | None = None

    def to_filter(self) -> Filter:
        """Return the filter."""
        return filter_of(
            agent_id=self.agent_id,
            session_id=self.session_id,
            statuses=self.status,
            action=self.action,
            submitted_by=self.submitted_by,
            since=self.since,
            until=self.until,
            selector=self.selector,
        )


def filter_of(*, statuses: Collection[Status] | None, selector: str | None, **columns: Any) -> Filter:
    """Make a filter of what a caller gave."""
    return Filter(
        statuses=frozenset(statuses) if statuses else None,
        selector=selectors.parse(selector) if selector is not None else None,
        **columns,
    )


class BulkRequest(Request):
    """What is to be done to all commands that a filter means."""

    filter: FilterRequest
    expected_count: Annotated[int, Field(ge=0), WHOLE] | None = Field(
        None, description="How many commands must match; otherwise nothing is done (409)."
    )
    dry_run: bool = Field(default=False, description="Only count; nothing is done.")
    reason: Annotated[str, Field(max_length=1000)] | None = Field(None, description="Kept in the audit log.")

    def to_change(self) -> BulkChange:
        """Return what is to be done."""
        return BulkChange(
            wanted=self.filter.to_filter(),
            expected=self.expected_count,
            dry_run=self.dry_run,
            reason=self.reason,
        )


class BulkDocument(Document):
    """How many commands match, and how many were changed."""

    matched: int
    changed: int


class ListedCommandDocument(Document):
    """A command and its status, without what may be large."""

    command_id: str
    agent_id: str
    session_id: str | None
    action: str
    status: str
    error_message: ShownText | None
    created_at: datetime
    sent_at: datetime | None
    acknowledged_at: datetime | None
    completed_at: datetime | None
    priority: int
    not_before: datetime | None
    deliver_by: datetime | None
    execution_timeout_seconds: Annotated[int, Field(validation_alias="execution_timeout")]
    max_attempts: int
    attempt: int
    cancel_requested_at: datetime | None
    cause: ShownText
    submitted_by: str | None
    redrive_of: str | None
    correlation_id: str | None = None


class CommandDocument(ListedCommandDocument):
    """A command, its status, and what it carries."""

    payload: Shown
    result: Shown
    progress: Shown


class CommandItemDocument(ListedCommandDocument):
    """A command in a list; the last three fields come only with `include`."""

    payload: Shown = None
    result: Shown = None
    progress: Shown = None


class CommandPage(Document):
    """A page of commands, newest first."""

    commands: list[CommandItemDocument]
    next_cursor: str | None


class AcceptedDocument(Document):
    """A command of a list that was accepted."""

    command_id: str
    agent_id: str
    status: str


class AcceptedList(Document):
    """The commands of a list, in its order."""

    commands: list[AcceptedDocument]


class HistoryEntryDocument(Document):
    """One transition."""

    from_status: str | None
    to_status: str
    attempt: int
    cause: ShownText
    at: datetime
    correlation_id: str | None


class HistoryPage(Document):
    """A page of a command's transitions, oldest first."""

    history: list[HistoryEntryDocument]
    next_cursor: str | None


class WhyDocument(Document):
    """The one reason why a command is where it is."""

    command_id: str
    status: str
    reason: str
    sentence: str
    unblock: str | None


class MinuteDocument(Document):
    """What happened in one minute."""

    minute: datetime
    accepted: int
    sent: int
    completed: int
    failed: int


class PresenceDocument(Document):
    """Agents by presence."""

    online: int = 0
    degraded: int = 0
    offline: int = 0


class OverviewDocument(Document):
    """Figures of the agents and commands that the operator may see."""

    at: datetime
    agents: PresenceDocument
    commands: dict[str, int]
    oldest_due_seconds: float
    dead_last_24h: Annotated[int, Field(serialization_alias="deadLast24h")]
    series: list[MinuteDocument]
    latency: dict[str, dict[str, float | None]]


class ValuesDocument(Document):
    """Values that occur."""

    values: list[str]
