"""Bodies about webhooks."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from dispatcher.api.schema_base import WHOLE, Document, Id, Request, SelectorText
from dispatcher.events.feed import EventType
from dispatcher.platform import settings
from dispatcher.webhooks.addresses import MOST_CHARACTERS, target_of
from dispatcher.webhooks.webhook_records import OVERLAP_SECONDS, NewWebhook, WebhookPatch

LONGEST_OVERLAP_SECONDS = 604_800
FIELDS = ("url", "types", "selector", "description")
"""What a patch changes of a webhook, beside whether it is enabled."""


def _allowed(url: str) -> str:
    target_of(url, private=settings.webhooks_private())
    return url


def _known(types: list[str]) -> list[str]:
    unknown = sorted(set(types) - set(EventType))
    if unknown:
        raise ValueError(f"{unknown[0][:64]!r} is no type of events; there are {', '.join(EventType)}")
    return list(dict.fromkeys(types))


Url = Annotated[str, StringConstraints(min_length=1, max_length=MOST_CHARACTERS), AfterValidator(_allowed)]
"""Where a webhook leads: https, to a public address."""
Types = Annotated[
    list[Annotated[str, Field(json_schema_extra={"enum": [*EventType]})]],
    Field(min_length=1, max_length=len(EventType) * 2),
    AfterValidator(_known),
]
"""Types of events."""
Description = Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class WebhookRequest(Request):
    """A webhook to make; it is told of events from now on."""

    url: Url
    types: Types | None = Field(None, description="The types of events that it is told of; default: all.")
    selector: SelectorText | None = Field(None, description="A label selector; default: all agents that you see.")
    description: Description | None = None

    def to_webhook(self) -> NewWebhook:
        """Return the webhook to make."""
        return NewWebhook(url=self.url, types=self.types, selector=self.selector or None, description=self.description)


class WebhookPatchRequest(Request):
    """A JSON Merge Patch of a webhook: what is absent stays, null means the default."""

    url: Url | None = None
    types: Types | None = None
    selector: SelectorText | None = None
    description: Description | None = None
    enabled: bool | None = None
    resume_from: Literal["stopped", "now", "start"] | None = Field(
        None,
        description="Where it goes on: where it stopped (the default), from now on, or at the oldest events that are kept.",
    )

    @model_validator(mode="after")
    def _has_a_url(self) -> Self:
        if "url" in self.model_fields_set and self.url is None:
            raise ValueError("a webhook has a url")
        return self

    def to_patch(self) -> WebhookPatch:
        """Return the patch."""
        changes = {name: getattr(self, name) for name in FIELDS if name in self.model_fields_set}
        return WebhookPatch(changes=changes, enabled=self.enabled, resume_from=self.resume_from)


class SecretRequest(Request):
    """How a secret is renewed."""

    overlap_seconds: Annotated[int, Field(ge=0, le=LONGEST_OVERLAP_SECONDS), WHOLE] = Field(
        OVERLAP_SECONDS, description="How long the old secret signs beside the new one."
    )


class WebhookDocument(Document):
    """A webhook without its secret."""

    webhook_id: Id
    url: str
    types: list[str] | None
    selector: str | None
    description: str | None
    labels: dict[str, Any] | None
    """The label limit of the operator who made it."""
    created_at: datetime
    changed_by: str
    """The operator whose rights it has."""
    expires_at: datetime | None
    enabled: bool
    disabled_at: datetime | None
    disabled_cause: str | None
    disabled_reason: str | None
    failures: int
    """How often the next event could not be delivered."""
    failing_since: datetime | None
    next_try_at: datetime | None
    waiting_since: datetime | None
    """Since when the oldest event that is known to wait has waited."""
    old_secret_until: datetime | None


class NewSecretDocument(WebhookDocument):
    """A webhook and its new secret, which is shown once."""

    secret: str


class WebhookPage(Document):
    """A page of webhooks, oldest first."""

    webhooks: list[WebhookDocument]
    next_cursor: str | None


class DeliveryDocument(Document):
    """One try to deliver one message."""

    message_id: str
    event_id: str | None
    """None: it was a test call."""
    type: str
    agent_id: str | None
    attempt: int
    at: datetime
    milliseconds: int
    delivered: bool
    status: int | None
    error: str | None


class DeliveryPage(Document):
    """A page of a webhook's delivery log, newest first."""

    deliveries: list[DeliveryDocument]
    next_cursor: str | None


class TrialDocument(Document):
    """What came of a test call."""

    message_id: str
    delivered: bool
    status: int | None
    error: str | None
    milliseconds: int
