"""Values as text for people, and text from people as values."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from command_dispatcher.digits import dumps

# What a terminal might obey, or what makes text look other than it is.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(?:\d+[smhdw])+", re.ASCII)
_PART = re.compile(r"(\d+)([smhdw])", re.ASCII)


def printable(text: str, *, keep_lines: bool = False) -> str:
    """Return the text with everything escaped that a terminal might obey."""

    def escape(found: re.Match[str]) -> str:
        character = found.group()
        return character if keep_lines and character == "\n" else f"\\u{ord(character):04x}"

    return _UNSAFE.sub(escape, text)


def json_text(value: Any, indent: int | None = 2) -> str:
    """Return a value as JSON that is safe on a terminal."""
    text = dumps(value, indent=indent)
    return "\n".join(printable(line) for line in text.split("\n"))


def short_json(value: Any) -> str:
    """Return a value as JSON on one line; nothing for null."""
    return "" if value is None else json_text(value, indent=None)


def moment(value: datetime | None) -> str:
    """Return a moment in UTC to the second, as RFC 3339 writes it."""
    return "" if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age(value: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago a moment was, in its largest unit."""
    if value is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - value).total_seconds()
    return f"in {duration(-seconds)}" if seconds < 0 else duration(seconds)


def duration(seconds: float) -> str:
    """Return seconds in their largest unit."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def labels_text(labels: Mapping[str, Any]) -> str:
    """Return labels as people write them."""
    return ",".join(f"{name}={value}" for name, value in labels.items())


def labels_from(pairs: Iterable[str]) -> dict[str, str]:
    """Read labels such as env=prod; raises ValueError."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise ValueError(f"{pair!r} is not a label; write name=value")
        found[name] = value
    return found


def label_changes(words: Iterable[str]) -> dict[str, str | None]:
    """Read changes such as env=prod and, to remove a label, old-; raises ValueError."""
    found: dict[str, str | None] = {}
    for word in words:
        if "=" not in word and word.endswith("-") and len(word) > 1:
            found[word[:-1]] = None
        else:
            found |= labels_from([word])
    return found


def seconds_from(text: str) -> int:
    """Read a duration such as 90, 90s, 15m, 2h30m or 7d; raises ValueError."""
    if text.isascii() and text.isdigit():
        return int(text)
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration; write for example 90s, 15m, 2h or 7d")
    return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def moment_from(text: str, *, past: bool, now: datetime | None = None) -> datetime:
    """Read a moment: RFC 3339, or a duration before now (`past`) or after it; raises ValueError."""
    try:
        distance = timedelta(seconds=seconds_from(text))
    except ValueError:
        pass
    else:
        here = now or datetime.now(UTC)
        return here - distance if past else here + distance
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError(f"{text!r} is neither a duration such as 2h nor a moment such as 2026-11-23T08:00:00Z")
    return found
