"""The correlation id: one id for a request and all that it causes, in logs, problems, commands, events and agents' traces.

It is a trace id of W3C Trace Context: 32 hexadecimal digits.  A function serves one event at a time, so the logger keeps it.
"""

import os
import re
import secrets
from collections.abc import Mapping

from dispatcher.platform.observability import logger

HEADER = "x-correlation-id"
"""The header of an answer that has the id."""
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_XRAY = re.compile(r"Root=1-([0-9a-f]{8})-([0-9a-f]{24})")
_ID = re.compile("[0-9a-f]{32}")
_NONE = "0" * 32


def begin(headers: Mapping[str, str] | None = None) -> str:
    """Begin with an event: take the caller's trace id from its headers (lower-case names), else Lambda's, else a new one."""
    found = _TRACEPARENT.fullmatch((headers or {}).get("traceparent", ""))
    if found and found[1] != _NONE:
        return resume(found[1])
    traced = _XRAY.search(os.environ.get("_X_AMZN_TRACE_ID", ""))
    return resume("".join(traced.groups()) if traced else None)


def resume(known: str | None) -> str:
    """Go on with the id of the event before, or begin with a new one."""
    current = known if known and _ID.fullmatch(known) else secrets.token_hex(16)
    logger.set_correlation_id(current)
    return current


def current() -> str | None:
    """Return the id of the event that is being handled; None before `begin`."""
    return logger.get_correlation_id()
