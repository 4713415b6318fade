"""What every request body and every answer has in common: JSON in camelCase; unknown fields are refused."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/-]*$")]
"""An identifier that is safe in a URL, in a log, and as the name of a file."""
AgentId = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]*$")]
"""The id of a new agent: it is a segment of a path."""
Word = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^\S(.*\S)?$")]
Labels = dict[Word, Annotated[str, StringConstraints(max_length=256)]]
RoleName = Literal["reader", "sender", "admin"]
Id = Annotated[str, BeforeValidator(str)]
"""An id that is a UUID in the table and text in an answer."""
LAST_YEAR = 9000
"""Leaves room for what is added to a moment: decoders end with the year 9999."""


class Request(BaseModel):
    """A request body: types are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel, frozen=True)


class Document(BaseModel):
    """An answer."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)


def _text(value: object) -> object:
    if not isinstance(value, str | datetime):
        raise ValueError("a moment is a text such as 2026-11-23T08:00:00Z")  # noqa: TRY004 - pydantic reports only a ValueError
    return value


def _storable(moment: datetime) -> datetime:
    if moment.year >= LAST_YEAR:
        raise ValueError(f"a moment lies before the year {LAST_YEAR}")
    return moment


Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_text), AfterValidator(_storable)]
"""A moment with its time zone."""


class HealthDocument(Document):
    """The state of the service."""

    status: Literal["ok"]
    oldest_due_seconds: float
