"""Bodies about agents, their registration and their keys."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from dispatcher.agents.changes import AgentPatch
from dispatcher.agents.enrolment import NewAgent, Registered, Registration
from dispatcher.agents.registry import COUNTED
from dispatcher.api.schema_base import (
    AgentId,
    Document,
    Id,
    Labels,
    LabelValue,
    Name,
    Request,
    Said,
    Shown,
    Word,
    bounded,
)


class AgentRequest(Request):
    """An agent to create."""

    agent_id: AgentId
    platform: Word
    region: Word | None = None
    labels: Labels = {}

    def to_agent(self) -> NewAgent:
        """Return the agent to create."""
        return NewAgent(agent_id=self.agent_id, platform=self.platform, region=self.region, labels=self.labels)


class AgentPatchRequest(Request):
    """A JSON Merge Patch (RFC 7396) of an agent; a label that is null is removed."""

    labels: Annotated[dict[Word, LabelValue | None], Field(max_length=64)] | None = None
    region: Word | None = None

    def to_patch(self) -> AgentPatch:
        """Return what changes."""
        named = self.model_fields_set
        return AgentPatch(
            labels=self.labels if "labels" in named else {},
            region=self.region,
            changes_region="region" in named,
        )


class AgentDocument(Document):
    """An agent and its presence."""

    agent_id: str
    platform: str
    region: str | None
    labels: dict[str, Any]
    facts: dict[str, Any]
    capacity: Shown
    metadata: Shown
    approval: str
    presence: str
    created_at: datetime
    registered_at: datetime | None
    connected_at: datetime | None
    last_seen_at: datetime | None
    active_sessions: int | None
    pending_count: Annotated[int, Field(description=f"How many commands wait for it, up to {COUNTED}.")]
    oldest_pending_at: Annotated[datetime | None, Field(description="When the oldest of these was accepted.")]


class NewAgentDocument(AgentDocument):
    """An agent and its first key, which is shown once."""

    api_key: str


class AgentPage(Document):
    """A page of agents, ordered by id."""

    agents: list[AgentDocument]
    next_cursor: str | None


class AgentWhyDocument(Document):
    """The one reason why an agent has nothing delivered."""

    agent_id: str
    reason: str
    sentence: str
    unblock: str | None


class KeyDocument(Document):
    """One of an agent's keys, without the key."""

    key_id: Id
    created_at: datetime
    created_by: str | None


class NewKeyDocument(KeyDocument):
    """A new key, which is shown once."""

    api_key: str


class KeyList(Document):
    """A page of an agent's valid keys, oldest first."""

    keys: list[KeyDocument]
    next_cursor: str | None


class RegisterRequest(BaseModel):
    """What an agent says about itself.  Unknown fields are ignored, because agents of all versions register here."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, frozen=True)

    agent_id: Name  # an agent that exists keeps its id; `enrolment.register` holds new ones to the form of an AgentId
    platform: Word
    region: Annotated[str, StringConstraints(max_length=128)] | None = None
    capacity: Said = None
    metadata: Said = None
    facts: Annotated[dict[str, Any], AfterValidator(bounded)] | None = None

    def to_registration(self) -> Registration:
        """Return the registration."""
        return Registration(
            agent_id=self.agent_id,
            platform=self.platform,
            region=self.region,
            capacity=self.capacity,
            metadata=self.metadata,
            facts=self.facts,
        )


class RegisteredDocument(Document):
    """The answer to an agent's registration, in the fields that existing agents read."""

    id: str
    agent_id: str
    platform: str
    region: str | None
    status: str
    approval_status: str
    created_at: datetime
    api_key: str | None = None
    """The key of an agent that showed an enrolment token."""

    @classmethod
    def of(cls, registered: Registered) -> Self:
        """Make the answer."""
        agent = registered.agent
        return cls(
            id=agent.agent_id,
            agent_id=agent.agent_id,
            platform=agent.platform,
            region=agent.region,
            status=agent.presence,
            approval_status=agent.approval,
            created_at=agent.created_at,
            api_key=registered.key,
        )
