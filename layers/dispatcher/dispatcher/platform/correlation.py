"""The correlation id: one id for a request and all that it causes, in logs, problems, commands, events and agents' traces.

It is a trace id of W3C Trace Context: 32 hexadecimal digits.  A function serves one event at a time, so this module keeps it.
"""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

HEADER = "x-correlation-id"
"""The header of an answer that has the id."""
LISTED = 100
"""The most ids of commands in a line of the log."""
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_XRAY = re.compile(r"Root=1-([0-9a-f]{8})-([0-9a-f]{24})")
_ID = re.compile("[0-9a-f]{32}")
_NONE = "0" * 32

_current: str | None = None


def begin(headers: Mapping[str, str] | None = None) -> str:
    """Begin with an event: take the caller's trace id from its headers (lower-case names), else Lambda's, else a new one."""
    found = _TRACEPARENT.fullmatch(headers.get("traceparent", "")) if headers else None
    if found and found[1] != _NONE:
        return resume(found[1])
    lambdas = os.environ.get("_X_AMZN_TRACE_ID")
    traced = _XRAY.search(lambdas) if lambdas else None
    return resume("".join(traced.groups()) if traced else None)


def resume(known: str | None) -> str:
    """Go on with the id of the event before, or begin with a new one."""
    global _current  # noqa: PLW0603 - one event at a time
    _current = known if known and _ID.fullmatch(known) else os.urandom(16).hex()
    return _current


def current() -> str | None:
    """Return the id of the event that is being handled; None before `begin`."""
    return _current


def of_commands(ids: Iterable[str | None]) -> dict[str, Any]:
    """Return the fields of a log line about commands: the ids of the requests that submitted them, each once."""
    return {"correlation_ids": list(dict.fromkeys(each for each in ids if each))[:LISTED]}
