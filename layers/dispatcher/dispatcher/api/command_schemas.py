"""Bodies about commands."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from dispatcher.api.schema_base import Document, Moment, Name, Request, Word
from dispatcher.commands.submission import NewCommand


class SubmitRequest(Request):
    """A command for one agent."""

    action: Word
    payload: Any = Field(None, description="Any JSON; the agent gets it unchanged.")
    session_id: Name | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] | None = Field(None, description="Higher goes first; default 0.")
    ttl_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = Field(
        None, description="Expires if it is not delivered so long after acceptance or notBefore; default: never."
    )
    execution_timeout_seconds: Annotated[int, Field(ge=1, le=604_800)] | None = Field(
        None, description="Times out if there is no result so long after the agent's ack; default 600."
    )
    max_attempts: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="How often it is sent before it is dead-lettered; default 10."
    )
    not_before: Moment | None = Field(None, description="Not sent earlier; a moment with its time zone.")

    def to_command(self, agent_id: str, idempotency_key: str | None = None) -> NewCommand:
        """Return the command to submit."""
        return NewCommand(
            agent_id=agent_id,
            action=self.action,
            payload=self.payload,
            session_id=self.session_id,
            priority=self.priority,
            not_before=self.not_before,
            ttl_seconds=self.ttl_seconds,
            execution_timeout=self.execution_timeout_seconds,
            max_attempts=self.max_attempts,
            idempotency_key=idempotency_key,
        )


class SubmitToRequest(SubmitRequest):
    """A command, and the agent it is for."""

    agent_id: Name


class CommandDocument(Document):
    """A command and its status."""

    command_id: str
    agent_id: str
    session_id: str | None
    action: str
    payload: Any
    status: str
    error_message: str | None
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
    result: Any
    progress: Any
    cause: str
    submitted_by: str | None
    redrive_of: str | None


class AcceptedDocument(Document):
    """A command of a list that was accepted."""

    command_id: str
    agent_id: str
    status: str


class AcceptedList(Document):
    """The commands of a list that was accepted, in its order."""

    commands: list[AcceptedDocument]


class CommandPage(Document):
    """A page of commands, newest first."""

    commands: list[CommandDocument]
    next_cursor: str | None


class HistoryEntryDocument(Document):
    """One transition."""

    from_status: str | None
    to_status: str
    attempt: int
    cause: str
    at: datetime


class HistoryDocument(Document):
    """A command's transitions, oldest first."""

    command_id: str
    history: list[HistoryEntryDocument]


class WhyDocument(Document):
    """The one reason why a command is where it is."""

    command_id: str
    status: str
    reason: str
    sentence: str
