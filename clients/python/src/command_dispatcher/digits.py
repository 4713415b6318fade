"""JSON that keeps every digit of its numbers, as the service does."""

import json
import re
from collections.abc import Mapping
from typing import Any, Self

# Marks a number's own text until the JSON is complete.  The service refuses U+0000 in texts, so none of them is mistaken.
_MARK = "\x00"
_MARKED = re.compile(r'"\\u0000([^"]*)"')


class ExactFloat(float):
    """A number with more digits than a float has; it counts as the float, and is written with its digits."""

    __slots__ = ("text",)

    def __new__(cls, text: str) -> Self:
        """Make it of the number's text."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str


def loads(text: str | bytes) -> Any:
    """Decode JSON; raises ValueError."""
    try:
        return json.loads(text, parse_float=_number, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def dumps(value: Any, indent: int | None = None) -> str:
    """Encode JSON; raises ValueError for what JSON cannot say, such as NaN."""
    exact: list[ExactFloat] = []
    text = json.dumps(_marked(value, exact), ensure_ascii=False, allow_nan=False, indent=indent)
    return _MARKED.sub(r"\1", text) if exact else text


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _number(text: str) -> float:
    plain = float(text)
    return plain if repr(plain) == text else ExactFloat(text)


def _marked(value: Any, exact: list[ExactFloat]) -> Any:
    if isinstance(value, ExactFloat):
        exact.append(value)
        return _MARK + value.text
    if isinstance(value, Mapping):
        return {name: _marked(item, exact) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_marked(item, exact) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value
