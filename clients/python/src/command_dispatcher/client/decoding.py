"""Turn JSON objects into frozen models, by the types of their fields."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Self, TypeAlias, cast, get_args, get_origin

from command_dispatcher.client.core import camel
from command_dispatcher.client.errors import UnexpectedAnswer

Convert: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A value of the service; members that this version does not know are only in `raw`."""

    raw: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False, compare=False)
    """The JSON object as it came."""

    @classmethod
    def of(cls, value: Any) -> Self:
        """Decode a JSON object; raises UnexpectedAnswer."""
        if not isinstance(value, Mapping):
            raise UnexpectedAnswer(f"An object was expected, and {type(value).__name__} came.")
        known = cast("Mapping[str, Any]", value)
        found: dict[str, Any] = {}
        for name, member, convert, is_required in _plan(cls):  # type: ignore[arg-type] # mypy: a type is hashable
            if member in known:
                found[name] = _converted(member, convert, known[member])
            elif is_required:
                raise UnexpectedAnswer(f"The answer has no {member!r}: the service may be older than this client.")
        return cls(raw=known, **found)


def _converted(member: str, convert: Convert, value: Any) -> Any:
    try:
        return convert(value)
    except (AttributeError, TypeError, ValueError):
        raise UnexpectedAnswer(f"{member!r} in the answer has another form than this version knows.") from None


@cache
def _plan(kind: type[Model]) -> tuple[tuple[str, str, Convert, bool], ...]:
    return tuple(
        (item.name, camel(item.name), _converter(item.type), item.default is MISSING)
        for item in fields(kind)
        if item.name != "raw"
    )


def _converter(kind: Any) -> Convert:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return partial(_optional, _converter(next(item for item in arguments if item is not NoneType)))
    if origin is tuple:
        return partial(_items, _converter(arguments[0]))
    if origin is Mapping:
        return partial(_values, _converter(arguments[1]))
    if kind is datetime:
        return datetime.fromisoformat
    if isinstance(kind, type) and issubclass(kind, Model):
        return kind.of
    return _same


def _same(value: Any) -> Any:
    return value


def _optional(convert: Convert, value: Any) -> Any:
    return None if value is None else convert(value)


def _items(convert: Convert, value: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(convert(item) for item in value)


def _values(convert: Convert, value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: convert(item) for name, item in value.items()}
