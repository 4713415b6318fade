"""JSON as text: strict for requests, lenient for what agents send and for what the database holds.

A number with more digits than a float keeps becomes a Decimal, and `dumps` writes it with every digit.
"""

import json
import json.encoder
import re
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, TypeGuard, cast

from dispatcher.errors import InvalidRequest

MAX_DEPTH = 64
"""Levels of nesting that a request body may have; PostgreSQL and every agent's decoder accept far more."""
READABLE_DEPTH = 200
"""Levels of nesting in an answer; pydantic's serializer refuses 255."""
_ODD = ("\\u", "NaN", "Infinity")
"""Texts of which a message may have values that cannot be stored."""
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
PLAIN_DEPTH = 32
"""Levels of nesting up to which a message is known to be storable without a look at each value."""
MAX_DIGITS = 4300
"""Digits of a number: Python's own limit for an integer; PostgreSQL takes 16,383 after the point."""
MAX_QUOTED = 64
"""Characters of the caller's own text that an error repeats."""

_TOO_DEEP = f"The body is nested deeper than {MAX_DEPTH} levels."
_TOO_LONG = f"The body holds a number of more than {MAX_DIGITS} digits."
_OBJECT: type[Any] = dict
_CONTAINERS: frozenset[type[Any]] = frozenset({dict, list})
_INFINITE = (float("inf"), float("-inf"))


def loads_strict(text: str) -> Any:
    """Decode a request body; raises InvalidRequest for values that cannot be stored and delivered unchanged.

    That is: text that is not JSON, NaN and Infinity, numbers that do not fit, nesting deeper than MAX_DEPTH, duplicate
    keys, U+0000 and lone surrogates (PostgreSQL stores neither).
    """
    try:
        value = _strict().decode(text)
    except RecursionError:
        raise InvalidRequest(_TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except ValueError:  # an integer beyond the interpreter's limit
        raise InvalidRequest(_TOO_LONG) from None
    if _goes_deeper(text, value, MAX_DEPTH):
        raise InvalidRequest(_TOO_DEEP)
    # Without these escapes there is neither: JSON allows no U+0000 in a text, and UTF-8 no lone surrogate.
    if "\\u0000" in text or "\\ud" in text or "\\uD" in text:
        _refuse_unstorable(value, "body")
    return value


def loads_of_agent(text: str) -> Any:
    """Decode an agent's message; a number that Python cannot hold becomes the text of its digits.

    Raises ValueError, and RecursionError if the nesting is too deep to be read.
    """
    try:
        return _lenient().decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer beyond the interpreter's limit
        return _lenient_with_any_integer().decode(text)


def documents_of_agent(text: str) -> list[Any]:
    """Decode an agent's message; some agents join two documents with a newline.  Raises what `loads_of_agent` raises."""
    try:
        return [loads_of_agent(text)]
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        return [loads_of_agent(line) for line in text.split("\n") if line.strip()]


def loads_lenient(data: bytes | str) -> Any:
    """Decode a value from the database.

    A number that Python cannot hold becomes the text of its digits.  A value that is nested deeper than READABLE_DEPTH
    becomes its text: PostgreSQL stores 16,000 levels, and an agent may report them.
    """
    text = data if isinstance(data, str) else bytes(data).decode()
    try:
        value = loads_of_agent(text)
    except RecursionError:
        return text
    return text if _goes_deeper(text, value, READABLE_DEPTH) else value


def _goes_deeper(text: str, value: Any, levels: int) -> bool:
    """Tell whether a text's value has more levels of objects and arrays; few brackets answer it without a look at the value.

    Where many are, only the value tells: a bracket in a text within may seem to close an array.
    """
    return text.count("[") + text.count("{") > levels and _is_deeper(value, levels)


def _is_deeper(value: Any, levels: int) -> bool:
    """Tell whether the value has more levels of objects and arrays; each pass goes one level down."""
    containers = [value] if type(value) in _CONTAINERS else []
    for _ in range(levels):
        containers = [
            item
            for each in containers
            for item in (each.values() if type(each) is _OBJECT else each)
            if type(item) in _CONTAINERS
        ]
        if not containers:
            return False
    return True


def dumps(value: Any, *, sort_keys: bool = False) -> str:
    """Encode compactly, with every digit of a Decimal; a value that is not JSON is a programming error.

    With `sort_keys`, equal values have equal texts, whatever the order of their members.
    """
    try:
        return "".join(_parts_of(sort_keys)(value, 0))
    except _DecimalFoundError:
        return _with_decimals(value, _encoder(sort_keys))


class _DecimalFoundError(Exception):
    """The fast encoder cannot write a Decimal as a number."""


@cache
def _encoder(sort_keys: bool) -> json.JSONEncoder:  # noqa: FBT001 - only `dumps` calls it
    return json.JSONEncoder(
        separators=(",", ":"), ensure_ascii=False, allow_nan=False, sort_keys=sort_keys, default=_of_other_type
    )


@cache
def _parts_of(sort_keys: bool) -> Callable[[Any, int], Iterable[str]]:  # noqa: FBT001 - only `dumps` calls it
    """Return what the encoder makes anew for each value: that would be half of the time for a small value."""
    encoder = _encoder(sort_keys)
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # this Python does not have it
        return lambda value, _: [encoder.encode(value)]
    parts_of: Callable[[Any, int], Iterable[str]] = make(
        *(None, encoder.default, json.encoder.encode_basestring, encoder.indent),
        *(encoder.key_separator, encoder.item_separator, sort_keys, encoder.skipkeys, encoder.allow_nan),
    )
    return parts_of


def _of_other_type(value: object) -> str:
    if isinstance(value, Decimal):
        raise _DecimalFoundError
    if isinstance(value, datetime):
        return moment_text(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def moment_text(moment: datetime) -> str:
    """Return a moment as answers and messages have it: RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _with_decimals(value: Any, encoder: json.JSONEncoder) -> str:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        members = sorted(pairs, key=lambda pair: pair[0]) if encoder.sort_keys else pairs
        return "{" + ",".join(f"{encoder.encode(key)}:{_with_decimals(item, encoder)}" for key, item in members) + "}"
    if is_array(value):
        return "[" + ",".join(_with_decimals(item, encoder) for item in value) + "]"
    return encoder.encode(value)


def storable(value: Any) -> Any:
    """Return the value with U+0000 and lone surrogates, which PostgreSQL cannot store, replaced by U+FFFD.

    For reports of agents: a damaged result is still a result.  A value that is nested too deep becomes its text.
    """
    if not _is_deeper(value, READABLE_DEPTH):
        return _storable(value)
    try:
        return _storable(dumps(value))
    except (RecursionError, ValueError):
        return "nested too deeply to be kept"


def is_plain(text: str, documents: list[Any]) -> bool:
    """Tell from a JSON text and what was decoded from it that every value is storable as it is; False in doubt."""
    for odd in _ODD:
        if odd[0] in text and odd in text:  # a search for one character is ten times as fast
            return False
    return _clean(text) and not _goes_deeper(text, documents, PLAIN_DEPTH)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value if _clean(value) else _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {_storable(key): _storable(item) for key, item in members.items()}
    if is_array(value):
        return [_storable(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):  # noqa: PLR0124 - NaN
        return str(value)
    return value


def as_object(value: object) -> dict[str, Any] | None:
    """Return the value if it is a JSON object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def is_array(value: object) -> TypeGuard[list[Any]]:
    """Tell whether the value is a JSON array."""
    return isinstance(value, list)


def as_text(value: object) -> str | None:
    """Return the value if it is a JSON string that is not empty."""
    return value if isinstance(value, str) and value else None


def _clean(text: str) -> bool:
    if text.isascii():
        return "\0" not in text
    return _UNSTORABLE.search(text) is None


def _refuse_unstorable(value: Any, place: str) -> None:
    if isinstance(value, str):
        if not _clean(value):
            raise InvalidRequest(f"{place} holds U+0000 or a lone surrogate, which cannot be stored.")
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            _refuse_unstorable(key, f"{place}, in the name of a member,")
            _refuse_unstorable(item, f"{place}/{_quoted(key)}")
    elif is_array(value):
        for index, item in enumerate(value):
            _refuse_unstorable(item, f"{place}/{index}")


def _quoted(text: str) -> str:
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…"


@cache
def _strict() -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_in_range, object_pairs_hook=_unique)


@cache
def _lenient() -> json.JSONDecoder:
    return json.JSONDecoder(parse_float=_number_or_text)


@cache
def _lenient_with_any_integer() -> json.JSONDecoder:
    return json.JSONDecoder(parse_int=_integer_or_text, parse_float=_number_or_text)


def _refuse_constant(name: str) -> None:
    raise InvalidRequest(f"The body holds {name}, which is not JSON.")


def _in_range(text: str) -> float | Decimal:
    if len(text) > MAX_DIGITS:
        raise InvalidRequest(_TOO_LONG)
    value = _number(text)
    if value is None:
        raise InvalidRequest(f"{_quoted(text)} is beyond the range of a double: many agents cannot read it.")
    return value


def _number(text: str) -> float | Decimal | None:
    """Return the number as a float if that keeps its digits, else as a Decimal; None beyond the range of a double."""
    value = float(text)
    if repr(value) == text:
        return value
    if value == 0:
        is_zero = not text.lower().partition("e")[0].strip("-0.")
        return value if is_zero else None
    return None if value in _INFINITE else Decimal(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise InvalidRequest(f"The body holds an object that names {_quoted(twice)!r} twice.")
    return value


def _integer_or_text(text: str) -> int | str:
    return int(text) if len(text) <= MAX_DIGITS else text


def _number_or_text(text: str) -> float | Decimal | str:
    value = _number(text)
    return text if value is None else value
