"""Bodies about events."""

from datetime import datetime

from dispatcher.api.schema_base import Document
from dispatcher.events.feed import EventType


class EventDocument(Document):
    """Something that happened to a command or an agent; what does not apply is left out."""

    id: str
    type: EventType
    at: datetime
    agent_id: str
    command_id: str = ""
    action: str = ""
    status: str = ""
    attempt: int = 0
    cause: str = ""
    correlation_id: str = ""


class EventPage(Document):
    """Events in their order; `after` is the cursor of the next page, also where there are no events."""

    events: list[EventDocument]
    after: str
