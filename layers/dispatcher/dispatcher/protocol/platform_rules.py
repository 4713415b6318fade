"""What StreamSpace's agents can read.  They drop any other command without a word, and what waits behind it waits too."""

import re
from typing import Any

from dispatcher.platform.json_text import as_object, as_text

STREAMSPACE_PLATFORMS = frozenset({"docker", "kubernetes"})
"""The platforms whose agents are StreamSpace's; they need the manifest of the template with each start."""
SESSION_ACTIONS = frozenset({"start_session", "stop_session", "hibernate_session", "wake_session"})
"""The actions that StreamSpace's agents know."""
LABEL_MOST = 63
"""The most characters of a DNS label (RFC 1123)."""
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def is_dns_label(name: str) -> bool:
    """Tell whether Kubernetes and Docker accept this as the name of a session."""
    return len(name) <= LABEL_MOST and _LABEL.fullmatch(name) is not None


def refusal(action: str, payload: Any) -> str | None:
    """Say why an agent of StreamSpace could not read a command, and what to do; None: it can."""
    if payload is None:
        return None
    fields = as_object(payload)
    if fields is None:
        return (
            "The payload is no JSON object, and agents of StreamSpace's platforms read nothing else. "
            'Put it into an object: {"value": ...}.'
        )
    session = as_text(fields.get("sessionId"))
    if action in SESSION_ACTIONS and session is not None and not is_dns_label(session):
        return (
            f"The agent names pods and containers after `payload.sessionId`, and {session[:80]!r} is no DNS label. "
            f"Use lower-case letters, digits and hyphens, at most {LABEL_MOST}."
        )
    return None
