"""Bodies about operators, log-ins, API tokens, the audit log and the loss check."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, StringConstraints

from dispatcher.access import browser_sessions
from dispatcher.access.operators import NewOperator
from dispatcher.access.provider_log_in import Code, Provider
from dispatcher.access.roles import Operator, Role
from dispatcher.api.schema_base import WHOLE, Document, Id, Labels, Request, RoleName, Word


def _id_text(value: object) -> object:
    return None if value is None else str(value)


class LoginRequest(Request):
    """A username and its password."""

    username: Annotated[str, StringConstraints(max_length=256)]
    password: Annotated[str, StringConstraints(max_length=1024)]


class TokenDocument(Document):
    """A token for the header `Authorization: Bearer …`."""

    token: str
    expires_at: datetime


class OwnSessionDocument(Document):
    """Who the caller is."""

    username: str
    role: str
    labels: dict[str, Any] | None
    csrf_token: str
    """For the header X-CSRF-Token of requests that change something, if a cookie authenticates them."""

    @classmethod
    def of(cls, operator: Operator, token: str) -> Self:
        """Return the document of an operator who showed this token."""
        labels = None if operator.scope is None else dict(operator.scope)
        return cls(
            username=operator.username,
            role=operator.role,
            labels=labels,
            csrf_token=browser_sessions.csrf_token(token),
        )


class ProviderDocument(Document):
    """An OpenID Connect issuer at which browsers log in, with the authorization code flow and PKCE."""

    issuer: str
    authorization_endpoint: str
    client_id: str
    scope: str


class LogInDocument(Document):
    """How a browser can log in, beside a password."""

    open_id_connect: ProviderDocument | None

    @classmethod
    def of(cls, provider: Provider | None) -> Self:
        """Return the document of an issuer."""
        return cls(open_id_connect=None if provider is None else ProviderDocument.model_validate(provider))


class CodeRequest(Request):
    """What a browser brings back from the issuer."""

    code: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    code_verifier: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9._~-]{43,128}$")]
    redirect_uri: Annotated[str, StringConstraints(max_length=2048, pattern=r"^https?://[A-Za-z0-9.:\[\]-]+/console/$")]

    def to_code(self) -> Code:
        """Return the code."""
        return Code(code=self.code, verifier=self.code_verifier, redirect_uri=self.redirect_uri)


class OperatorRequest(Request):
    """An operator; labels limit the operator to the agents that carry all of them."""

    password: Annotated[str, StringConstraints(min_length=12, max_length=1024)]
    role: RoleName
    labels: Labels | None = None

    def to_operator(self, username: str) -> NewOperator:
        """Return the operator to create or to change."""
        return NewOperator(username=username, password=self.password, role=Role(self.role), scope=self.labels)


class OperatorDocument(Document):
    """An operator with an account here."""

    username: str
    role: str
    labels: dict[str, Any] | None
    created_at: datetime
    disabled_at: datetime | None


class OperatorPage(Document):
    """A page of the operators with an account here, ordered by name."""

    operators: list[OperatorDocument]
    next_cursor: str | None


class ApiTokenRequest(Request):
    """An API token to create."""

    name: Word
    role: RoleName
    ttl_seconds: Annotated[int, Field(ge=60, le=31_536_000), WHOLE] = 7_776_000


class ApiTokenDocument(Document):
    """An API token without its secret."""

    token_id: Id
    name: str
    role: str
    created_at: datetime
    expires_at: datetime


class NewApiTokenDocument(ApiTokenDocument):
    """A new API token, which is shown once."""

    token: str


class ApiTokenPage(Document):
    """A page of API tokens that are valid, oldest first."""

    tokens: list[ApiTokenDocument]
    next_cursor: str | None


class AuditEntryDocument(Document):
    """One entry of the audit log."""

    at: datetime
    actor: str
    source_ip: str | None
    token_id: Annotated[str | None, BeforeValidator(_id_text)]
    """The API token that the actor showed."""
    action: str
    agent_id: str | None
    command_id: str | None
    command_ids: Annotated[
        list[str] | None, Field(description="Commands that were submitted as one list: at most the first 100.")
    ]
    detail: Annotated[
        Any, Field(description="Of commands that were submitted as one list: their number as `commands`.")
    ]


class AuditPage(Document):
    """A page of the audit log, newest first."""

    entries: list[AuditEntryDocument]
    next_cursor: str | None


class FindingDocument(Document):
    """One invariant, and the commands that break it."""

    check: str
    offenders: int
    some: list[str]


class LossReportDocument(Document):
    """What the loss check found: clean if no invariant is broken."""

    clean: bool
    findings: list[FindingDocument]
    figures: dict[str, float]
