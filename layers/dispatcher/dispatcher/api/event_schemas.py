"""Bodies about events."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from dispatcher.api.schema_base import Document
from dispatcher.commands.lifecycle import Status
from dispatcher.events.feed import EventType


def _may_be_absent(schema: dict[str, Any]) -> None:
    del schema["default"]


Absent = Field(json_schema_extra=_may_be_absent)
"""For a field that is left out where it does not apply."""


class EventDocument(Document):
    """Something that happened to a command or an agent.  What does not apply is left out; there may be more fields later."""

    id: str = Field(description="The same whenever this event is read or sent again.")
    type: EventType
    at: datetime = Field(description="When it was written, by the database's clock.")
    agent_id: str
    command_id: Annotated[str, Absent] = ""
    action: Annotated[str, Absent] = ""
    status: Annotated[Status, Absent] = Status.PENDING
    attempt: Annotated[int, Absent] = 0
    cause: Annotated[str, Absent] = ""
    correlation_id: Annotated[str, Absent] = ""


class AgentEventPage(Document):
    """Events of one agent, newest first."""

    events: list[EventDocument]
    next_cursor: str | None


class EventPage(Document):
    """Events in their order."""

    events: list[EventDocument]
    after: str = Field(description="The cursor of the next page, also where there are no events.")
