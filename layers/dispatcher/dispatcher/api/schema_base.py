"""What every request body and every answer has in common: JSON in camelCase; unknown fields are refused."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasGenerator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel

from dispatcher.agents import agent_ids, selectors
from dispatcher.platform.json_text import as_object, dumps, is_array

Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/-]*$")]
"""An identifier that is safe in a URL, in a log, and as the name of a file."""
Word = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=128,
        pattern=r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$",
    ),
]
"""A text of one line: no control characters, which a terminal might obey, and no space at its ends."""
LabelValue = Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
Labels = Annotated[
    dict[Word, LabelValue],
    Field(max_length=64, json_schema_extra={"additionalProperties": False}),
]
"""The labels of an agent, or those that limit an operator."""
RoleName = Literal["reader", "sender", "admin"]
Id = Annotated[str, BeforeValidator(str)]
"""An id that is a UUID in the table and text in an answer."""

FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
"""The table has no earlier moment."""
LAST_MOMENT = datetime(9000, 1, 1, tzinfo=UTC)
"""Leaves room for what is added to a moment: decoders end with the year 9999."""
SAID_BYTES = 16 * 1024
"""The most that an agent may say of itself in one field, as JSON."""
SHOWN_BYTES = 300_000
"""Larger values, as JSON, are shortened in answers.  More than twice the largest message, so a payload is never shortened."""
_SHORTENED = 100_000
MOST_UNKNOWN = 100
"""A body with more members than this is refused without looking at each."""

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class Request(BaseModel):
    """A request body: types are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _not_too_many(cls, value: Any) -> Any:
        members = as_object(value)
        if members is not None and len(members) > MOST_UNKNOWN:
            known = ", ".join(field.alias or name for name, field in cls.model_fields.items())
            raise ValueError(f"the object has too many members; known are {known}")
        return value


class Document(BaseModel):
    """An answer."""

    # Without an alias for reading: looking for it in each value took longer than all else.
    model_config = ConfigDict(alias_generator=AliasGenerator(serialization_alias=to_camel), from_attributes=True)


def _not_reserved(agent_id: str) -> str:
    if agent_id.lower() in agent_ids.RESERVED:
        raise ValueError(f"{' and '.join(sorted(agent_ids.RESERVED))} are reserved; choose another id")
    return agent_id


IdPrefix = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]*$")]
"""The beginning of agents' ids."""
AgentId = Annotated[IdPrefix, AfterValidator(_not_reserved)]
"""The id of an agent: it is a segment of a path."""


SelectorText = Annotated[str, AfterValidator(selectors.checked)]
"""A label selector as Kubernetes writes it."""


def _whole(value: object) -> object:
    # In JSON 1.0 and 1e0 are the integer 1.  A number with an exponent is bounded before it is written out.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Decimal) and value.adjusted() < 18 and value == value.to_integral_value():  # noqa: PLR2004 - a bigint's digits
        return int(value)
    return value


WHOLE = BeforeValidator(_whole)
"""For a field of integers, after its bounds: 1.0 and 1e0 are the integer 1, as in JSON."""


def _moment(value: object) -> datetime:
    wanted = "a moment is a text of RFC 3339 with its time zone, such as 2026-11-23T08:00:00Z"
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError(wanted)
    try:
        moment = datetime.fromisoformat(value.upper())
    except ValueError:
        raise ValueError(f"{wanted}; this date or time does not exist") from None
    if not FIRST_MOMENT <= moment < LAST_MOMENT:
        raise ValueError(f"a moment lies between the years {FIRST_MOMENT.year} and {LAST_MOMENT.year - 1}")
    return moment.astimezone(UTC)


Moment = Annotated[
    AwareDatetime, BeforeValidator(_moment), Field(json_schema_extra={"pattern": r"^(19[7-9]\d|[2-8]\d{3})-"})
]
"""A moment of RFC 3339 with its time zone."""


def bounded(value: Any) -> Any:
    """Return the value; raises ValueError if it takes more than SAID_BYTES as JSON."""
    size = len(dumps(value).encode())
    if size > SAID_BYTES:
        raise ValueError(f"it takes {size:,} bytes as JSON; at most {SAID_BYTES:,} are kept")
    return value


Said = Annotated[Any, AfterValidator(bounded)]
"""Any JSON that an agent says of itself."""


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) * 6 < SHOWN_BYTES else _shortened_text(value, dumps(value))
    if as_object(value) is None and not is_array(value):
        return value
    text = dumps(value)
    return _shortened_text(value, text) if len(text) * 4 > SHOWN_BYTES else value


def _shortened_text(value: Any, text: str) -> Any:
    if len(text.encode()) <= SHOWN_BYTES:
        return value
    beginning = (value if isinstance(value, str) else text)[:_SHORTENED]
    return f"{beginning}… (shortened, {len(text):,} characters in all)"


Shown = Annotated[Any, AfterValidator(_shortened)]
"""Any JSON in an answer; of a value that no answer has room for, the beginning of its text."""
ShownText = Annotated[str, AfterValidator(_shortened)]


def render(document: BaseModel, *, exclude: set[str] | None = None) -> str:
    """Return a document as JSON, with every digit of its numbers."""
    return dumps(document.model_dump(by_alias=True, exclude=exclude))


class HealthDocument(Document):
    """The state of the service."""

    status: Literal["ok"]
    oldest_due_seconds: float
    feed_lag_seconds: float
    """How long the oldest event has waited for a transaction that began before it."""
