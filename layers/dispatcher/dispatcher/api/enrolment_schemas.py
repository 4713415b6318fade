"""Bodies about enrolment tokens."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from dispatcher.agents.enrolment_tokens import NewEnrolmentToken
from dispatcher.api.schema_base import WHOLE, AgentId, Document, Id, IdPrefix, Labels, Request


class EnrolmentTokenRequest(Request):
    """An enrolment token to create: for one agent id, or for all ids with a prefix."""

    agent_id: AgentId | None = None
    prefix: IdPrefix | None = None
    labels: Labels = {}
    approved: bool = False
    uses: Annotated[int, Field(ge=1, le=100_000), WHOLE] = 1
    ttl_seconds: Annotated[int, Field(ge=1, le=604_800), WHOLE] = 3600
    reusable: bool = False
    """Whether the agent that used the token may use it again until it expires, for example after each restart."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.agent_id is None) == (self.prefix is None):
            raise ValueError("give either agentId or prefix")
        return self

    def to_token(self) -> NewEnrolmentToken:
        """Return the token to create."""
        return NewEnrolmentToken(
            agent_id=self.agent_id,
            prefix=self.prefix,
            labels=self.labels,
            approved=self.approved,
            uses=self.uses,
            ttl_seconds=self.ttl_seconds,
            reusable=self.reusable,
        )


class EnrolmentTokenDocument(Document):
    """An enrolment token without its secret."""

    token_id: Id
    agent_id: str | None
    prefix: str | None
    labels: dict[str, Any]
    approved: bool
    reusable: bool
    uses_left: int
    created_by: str
    created_at: datetime
    expires_at: datetime


class NewEnrolmentTokenDocument(EnrolmentTokenDocument):
    """A new enrolment token, which is shown once.  Agents send it in the place of their key when they register."""

    token: str


class EnrolmentTokenPage(Document):
    """A page of valid enrolment tokens, oldest first."""

    enrolment_tokens: list[EnrolmentTokenDocument]
    next_cursor: str | None
