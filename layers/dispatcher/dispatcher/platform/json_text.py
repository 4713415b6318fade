"""JSON as text: strict for requests, lenient for what agents send and for what the database holds."""

import json
import re
from typing import Any, TypeGuard, cast

from dispatcher.errors import InvalidRequest

MAX_DEPTH = 64
"""Levels of nesting that a request body may have; PostgreSQL and every agent's decoder accept far more."""
READABLE_DEPTH = 200
"""Levels of nesting in an answer; pydantic's serializer refuses 255."""
_ODD = re.compile("[\0\ud800-\udfff]|NaN|Infinity")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
PLAIN_DEPTH = 32
"""Levels of nesting up to which a message is known to be storable without a look at each value."""
MAX_DIGITS = 4300
"""Digits of an integer: Python's own limit for the conversion from text."""


def loads_strict(text: str) -> Any:
    """Decode a request body; raises InvalidRequest for values that cannot be stored and delivered unchanged.

    That is: text that is not JSON, NaN and Infinity, numbers that do not fit, nesting deeper than MAX_DEPTH, duplicate
    keys, U+0000 and lone surrogates (PostgreSQL stores neither).
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique)
        _check(value, 1)
    except RecursionError:
        raise InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except ValueError:  # an integer beyond the interpreter's limit
        raise InvalidRequest(f"The body holds an integer of more than {MAX_DIGITS} digits.") from None
    return value


def loads_of_agent(text: str) -> Any:
    """Decode an agent's message; a number that Python cannot hold becomes the text of its digits.

    Raises ValueError, and RecursionError if the nesting is too deep to be read.
    """
    return json.loads(text, parse_int=_integer_or_text, parse_float=_float_or_text)


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
    deep = text.count("[") + text.count("{") > READABLE_DEPTH and _is_deeper(value, READABLE_DEPTH)
    return text if deep else value


def _is_deeper(value: Any, levels: int) -> bool:
    members = as_object(value)
    items = list(members.values()) if members is not None else value
    if not is_array(items):
        return False
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in items)


def dumps(value: Any) -> str:
    """Encode compactly; a value that is not JSON is a programming error."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


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


def is_plain(text: str) -> bool:
    """Tell from a JSON text, at once, that every value in it is storable; False in doubt."""
    return "\\u" not in text and _ODD.search(text) is None and _is_shallow(text)


def _is_shallow(text: str) -> bool:
    """Tell whether nothing is nested deeper than PLAIN_DEPTH; False in doubt, as for brackets in a text."""
    brackets = text.encode().translate(None, _NOT_BRACKETS)
    for _ in range(PLAIN_DEPTH):
        if not brackets:
            return True
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return not brackets


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode() if not _clean(value) else value
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
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, str):
        if not _clean(value):
            raise InvalidRequest("The body holds U+0000 or a lone surrogate, which cannot be stored.")
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            _check(key, depth)
            _check(item, depth + 1)
    elif is_array(value):
        for item in value:
            _check(item, depth + 1)


def _refuse_constant(name: str) -> None:
    raise InvalidRequest(f"The body holds {name}, which is not JSON.")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise InvalidRequest("The body holds a number that is too large for a double.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise InvalidRequest("The body holds an object that names a key twice.")
    return value


def _integer_or_text(text: str) -> int | str:
    return int(text) if len(text) <= MAX_DIGITS else text


def _float_or_text(text: str) -> float | str:
    value = float(text)
    return text if value in (float("inf"), float("-inf")) else value
