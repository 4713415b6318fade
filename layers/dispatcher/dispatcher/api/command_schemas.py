"""Bodies about commands."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import FailFast, Field, RootModel

from dispatcher.api.schema_base import WHOLE, Document, Moment, Name, Request, Shown, ShownText, Word
from dispatcher.commands.submission import NewCommand


class SubmitRequest(Request):
    """A command for one agent."""

    action: Word
    payload: Any = Field(None, description="Any JSON; the agent gets it unchanged.")
    session_id: Name | None = None
    priority: Annotated[int, Field(ge=-100, le=100), WHOLE] | None = Field(
        None, description="Higher goes first; default 0."
    )
    ttl_seconds: Annotated[int, Field(ge=1, le=31_536_000), WHOLE] | None = Field(
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
            redeliver_after_ack=self.redeliver == "afterAck",
        )


class SubmitToRequest(SubmitRequest):
    """A command, and the agent it is for."""

    agent_id: Name


class SubmitListRequest(RootModel[list[SubmitToRequest]]):
    """Commands, each for its agent.  Only the first command that does not have its form is named."""

    root: Annotated[list[SubmitToRequest], FailFast()] = Field(min_length=1, max_length=1000)


class RedriveRequest(Request):
    """How to submit a command again."""

    ttl_seconds: Annotated[int, Field(ge=1, le=31_536_000), WHOLE] | None = Field(
        None,
        description="Expires if it is not delivered so long after acceptance; default: as long as the old command.",
    )


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
    correlation_id: str | None


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
