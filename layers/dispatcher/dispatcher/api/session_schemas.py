"""Bodies about StreamSpace's sessions."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from dispatcher.api.schema_base import Document, Name, Request, Word
from dispatcher.sessions.streamspace import NewSession


class Resources(Request):
    """The resources of a session, in Kubernetes' units."""

    memory: Word = "512Mi"
    cpu: Word = "250m"


class SessionRequest(Request):
    """A session to start."""

    user: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    template: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    resources: Resources = Resources()
    persistent_home: bool = False
    agent_id: Name | None = None

    def to_session(self) -> NewSession:
        """Return the session to start."""
        return NewSession(
            user=self.user,
            template=self.template,
            resources=self.resources.model_dump(),
            persistent_home=self.persistent_home,
            agent_id=self.agent_id,
        )


class SessionDocument(Document):
    """A session."""

    name: str
    agent_id: str
    user: Annotated[str, Field(validation_alias="owner")]
    template: str
    resources: dict[str, Any]
    persistent_home: bool
    state: str
    details: Any
    created_at: datetime
    updated_at: datetime


class StartedSessionDocument(SessionDocument):
    """A session and the command that starts it."""

    command_id: str


class SessionPage(Document):
    """A page of sessions, ordered by name."""

    sessions: list[SessionDocument]
    next_cursor: str | None
