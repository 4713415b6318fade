"""Bodies about StreamSpace's sessions."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from dispatcher.api.schema_base import Document, Name, Request, Word
from dispatcher.api.template_schemas import TemplateManifest
from dispatcher.sessions.streamspace import NewSession

# Kubernetes gets both as values of labels, which end with a letter or a digit.
LabelValue = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"),
]
State = Literal[
    "pending", "running", "stopping", "hibernating", "hibernated", "waking", "terminated", "failed", "unknown"
]
"""`unknown`: a command may have been executed, and the agent has not said so."""


class Resources(Request):
    """The resources of a session, in Kubernetes' units."""

    memory: Word = "512Mi"
    cpu: Word = "250m"


class SessionRequest(Request):
    """A session to start."""

    user: LabelValue
    template: LabelValue
    resources: Resources = Resources()
    persistent_home: bool = False
    agent_id: Name | None = None
    template_manifest: TemplateManifest | None = Field(
        None, description="Instead of a stored template: the manifest that the agent gets with the start."
    )

    def to_session(self) -> NewSession:
        """Return the session to start."""
        return NewSession(
            user=self.user,
            template=self.template,
            resources=self.resources.model_dump(),
            persistent_home=self.persistent_home,
            agent_id=self.agent_id,
            template_manifest=self.template_manifest.to_manifest() if self.template_manifest else None,
        )


class SessionDocument(Document):
    """A session."""

    name: str
    agent_id: str
    user: Annotated[str, Field(validation_alias="owner")]
    template: str
    resources: dict[str, Any]
    persistent_home: bool
    state: State
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
