"""The JSON that operators and agents send and get, in camelCase.  Unknown fields are refused, types are not bent."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel

from dispatcher.store.commands import NewCommand

Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/-]*$")]
"""An identifier that is safe in a URL, a log and a file of its own."""
AgentId = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]*$")]
"""An agent's id as it is given: a segment of a path."""
LAST_YEAR = 9000
"""Room for what is added to a moment, before the 9999 in which every decoder's years end."""
Word = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^\S(.*\S)?$")]


class Request(BaseModel):
    """What comes in."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel, frozen=True)


class Document(BaseModel):
    """What goes out."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)


class LoginRequest(Request):
    """A username and its password."""

    username: Annotated[str, StringConstraints(max_length=256)]
    password: Annotated[str, StringConstraints(max_length=1024)]


class TokenDocument(Document):
    """A token for the header `Authorization: Bearer …`."""

    token: str
    expires_at: datetime


def _text(value: object) -> object:
    if not isinstance(value, str | datetime):
        raise ValueError("a moment is a text such as 2026-11-23T08:00:00Z")  # noqa: TRY004 - pydantic tells only a ValueError
    return value


def _storable(moment: datetime) -> datetime:
    if moment.year >= LAST_YEAR:
        raise ValueError(f"a moment lies before the year {LAST_YEAR}")
    return moment


class SubmitRequest(Request):
    """A command for one agent."""

    action: Word
    payload: Any = Field(None, description="What the agent gets with it; any JSON.")
    session_id: Name | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] | None = Field(
        None, description="Higher goes first; 0 where it is left out."
    )
    ttl_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = Field(
        None, description="Expires, if undelivered so long after acceptance or notBefore; never where it is left out."
    )
    execution_timeout_seconds: Annotated[int, Field(ge=1, le=604_800)] | None = Field(
        None, description="Times out, if without a result so long after the agent's ack; 600 where it is left out."
    )
    max_attempts: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="How often it is sent before it is dead; 10 where it is left out."
    )
    not_before: (
        Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_text), AfterValidator(_storable)] | None
    ) = Field(None, description="Not sent earlier; a moment with its zone.")

    def to_command(self, agent_id: str, *, idempotency_key: str | None) -> NewCommand:
        """Return what is to be stored."""
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
    """A command that names its agent."""

    agent_id: Name


class CommandDocument(Document):
    """A command and where it is."""

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


class CommandPage(Document):
    """A page of commands, the newest first."""

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
    """A command's transitions, the oldest first."""

    command_id: str
    history: list[HistoryEntryDocument]


class WhyDocument(Document):
    """The one reason why a command is where it is."""

    command_id: str
    status: str
    reason: str
    sentence: str


class Resources(Request):
    """What a session may use, in Kubernetes' units."""

    memory: Word = "512Mi"
    cpu: Word = "250m"


class SessionRequest(Request):
    """A session to start."""

    user: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    template: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    resources: Resources = Resources()
    persistent_home: bool = False
    agent_id: Name | None = None


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
    """A session, and the command that starts it."""

    command_id: str


class SessionPage(Document):
    """A page of sessions in the order of their names."""

    sessions: list[SessionDocument]
    next_cursor: str | None


class AgentRequest(Request):
    """An agent to provide."""

    agent_id: AgentId
    platform: Word
    region: Word | None = None
    labels: dict[Word, Annotated[str, StringConstraints(max_length=256)]] = {}


class AgentDocument(Document):
    """An agent and its presence."""

    agent_id: str
    platform: str
    region: str | None
    labels: dict[str, Any]
    capacity: Any
    metadata: Any
    approval: str
    presence: str
    created_at: datetime
    registered_at: datetime | None
    connected_at: datetime | None
    last_seen_at: datetime | None
    active_sessions: int | None


class NewAgentDocument(AgentDocument):
    """An agent, and its first key: it is shown once."""

    api_key: str


class AgentPage(Document):
    """A page of agents in the order of their ids."""

    agents: list[AgentDocument]
    next_cursor: str | None


class KeyDocument(Document):
    """One of an agent's keys, without the key."""

    key_id: str
    created_at: datetime
    created_by: str | None


class NewKeyDocument(KeyDocument):
    """A new key: it is shown once."""

    api_key: str


class KeyList(Document):
    """An agent's valid keys."""

    keys: list[KeyDocument]


class RegisterRequest(BaseModel):
    """What an agent says of itself.  Fields that are not known here are left alone: agents differ in age."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, frozen=True)

    agent_id: Name
    platform: Word
    region: str | None = None
    capacity: Any = None
    metadata: Any = None


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
    """The key of an agent that enrolled just now: it is shown once."""


class HealthDocument(Document):
    """Whether the service can do its work."""

    status: Literal["ok"]
    oldest_due_seconds: float


class EnrolmentTokenRequest(Request):
    """An enrolment token to make: for one agent's id, or for every id with a prefix."""

    agent_id: AgentId | None = None
    prefix: AgentId | None = None
    labels: dict[Word, Annotated[str, StringConstraints(max_length=256)]] = {}
    approved: bool = False
    uses: Annotated[int, Field(ge=1, le=100_000)] = 1
    ttl_seconds: Annotated[int, Field(ge=1, le=604_800)] = 3600

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.agent_id is None) == (self.prefix is None):
            raise ValueError("give either agentId or prefix")
        return self


class EnrolmentTokenDocument(Document):
    """An enrolment token: it is shown once.  Agents send it in the place of their key when they register."""

    token_id: str
    token: str
    agent_id: str | None
    prefix: str | None
    labels: dict[str, Any]
    approved: bool
    uses_left: int
    expires_at: datetime


RoleName = Literal["reader", "sender", "admin"]


class OperatorRequest(Request):
    """An operator; with labels, limited to the agents that carry all of them."""

    password: Annotated[str, StringConstraints(min_length=12, max_length=1024)]
    role: RoleName
    labels: dict[Word, Annotated[str, StringConstraints(max_length=256)]] | None = None


class OperatorDocument(Document):
    """An operator that logs in here."""

    username: str
    role: str
    labels: dict[str, Any] | None
    created_at: datetime
    disabled_at: datetime | None


class OperatorList(Document):
    """All operators that log in here, in the order of their names."""

    operators: list[OperatorDocument]


class ApiTokenRequest(Request):
    """A token for scripts to make."""

    name: Word
    role: RoleName
    ttl_seconds: Annotated[int, Field(ge=60, le=31_536_000)] = 7_776_000


class ApiTokenDocument(Document):
    """A token for scripts, without itself."""

    token_id: str
    name: str
    role: str
    created_at: datetime
    expires_at: datetime


class NewApiTokenDocument(ApiTokenDocument):
    """A new token for scripts: it is shown once."""

    token: str


class ApiTokenList(Document):
    """Tokens for scripts that are valid."""

    tokens: list[ApiTokenDocument]


class AuditEntryDocument(Document):
    """One deed."""

    at: datetime
    actor: str
    source_ip: str | None
    action: str
    agent_id: str | None
    command_id: str | None
    detail: Any


class AuditPage(Document):
    """A page of deeds, the newest first."""

    entries: list[AuditEntryDocument]
    next_cursor: str | None
