"""Decodes what agents send, in both protocols and in the vocabularies of both StreamSpace agents.

Decoded values are storable: what PostgreSQL cannot store is replaced here, and nowhere else.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

from dispatcher.platform.json_text import as_object, as_text, documents_of_agent, dumps, is_array, is_plain, storable

REPORTS_MOST = 1000
"""The most reports in one message; more valid ones do not fit into 128 KB."""
MESSAGE_ID_MOST = 64
"""The longest id of a message that is to be confirmed, in characters."""


FACTS_BYTES = 16 * 1024
"""The most that an agent may say of itself, as JSON."""


class BadFrame(Exception):
    """An agent sent a message, or a part of one, that cannot be understood."""


class Report(NamedTuple):
    """What an agent reports of one command; a tuple, because one message has up to a thousand of them."""

    kind: str
    """ack, progress, complete, failed, retry (it failed, and may be tried again), cancelled, answer, answer_failed.

    The last two are the docker-agent's, which names only the session.
    """
    about: str
    """The id of the command, or of the session."""
    attempt: int | None = None
    value: Any = None
    """The progress or the result."""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """The state of a session at its agent; `state` is None if the agent only adds details."""

    session_id: str
    state: str | None
    details: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A sign of life."""

    capacity: Any = None
    active_sessions: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """The agent keeps its reports until the service confirms this id."""

    message_id: str
    in_commands: bool = False
    """Whether the message of commands that it causes may say so, instead of one more message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """What the agent executes, said first after connecting: command ids and attempts."""

    running: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the agent says of itself; it replaces what it said before."""

    facts: dict[str, Any]


AgentMessage = Report | SessionStatus | Heartbeat | Confirm | Resume | Facts


def text_of(event: Mapping[str, Any]) -> str:
    """Return the text of a WebSocket event; invalid UTF-8 becomes U+FFFD."""
    body: str = event.get("body") or ""
    return base64.b64decode(body).decode("utf-8", "replace") if event.get("isBase64Encoded") else body


def decode(text: str) -> Sequence[AgentMessage | BadFrame]:
    """Decode one message; in a batch, a report that cannot be understood becomes a BadFrame in the result.

    Raises BadFrame if the whole message cannot be understood.  The reason quotes nothing of the message but its type.
    """
    try:
        documents = documents_of_agent(text)
    except (ValueError, RecursionError):
        raise BadFrame("not JSON") from None
    if not is_plain(text, documents):
        documents = [_storable_message(document) for document in documents]
    return [part for document in documents for part in _decode(document)]


def _storable_message(value: Any) -> Any:
    """Make the values of a message storable, each on its own: those of its fields, of its payload and of its reports."""
    message = as_object(value)
    if message is None:
        return storable(value)
    clean = {
        storable(name): [_storable_fields(part) for part in field] if is_array(field) else _storable_fields(field)
        for name, field in message.items()
    }
    if clean.get("type") in {"reports", "resume"} and "id" in message:
        clean["id"] = message["id"]  # it is not stored, and the agent would not know another one for its own
    return clean


def _storable_fields(value: Any) -> Any:
    fields = as_object(value)
    return storable(value) if fields is None else {storable(name): storable(field) for name, field in fields.items()}


def _decode(document: object) -> Sequence[AgentMessage | BadFrame]:
    message = as_object(document)
    if message is None:
        raise BadFrame("not a JSON object")
    kind = as_text(message.get("type"))
    if kind == "reports":
        return [*_confirm(message), *_reports(message.get("reports"))]
    if kind == "resume":
        return [*_confirm(message), _resume(message.get("running"))]
    decoder = _MESSAGES.get(kind or "")
    if decoder is None:
        raise BadFrame(f"unknown type {kind[:40]!r}" if kind else "no type")
    # The k8s-agent wraps its fields in `payload`; the docker-agent and old heartbeats do not.
    return [decoder(as_object(message.get("payload")) or message)]


def _reports(value: object) -> Sequence[AgentMessage | BadFrame]:
    if not is_array(value):
        raise BadFrame("reports is not a list")
    if len(value) > REPORTS_MOST:
        raise BadFrame(f"more than {REPORTS_MOST} reports")
    return [_report(part) for part in value]


def _confirm(message: Mapping[str, Any]) -> Sequence[Confirm | BadFrame]:
    message_id = message.get("id")
    if message_id is None:
        return []
    if (
        not isinstance(message_id, str)
        or not 0 < len(message_id) <= MESSAGE_ID_MOST
        or message_id != storable(message_id)
    ):
        return [BadFrame(f"the id of the message is no text of up to {MESSAGE_ID_MOST} characters")]
    return [Confirm(message_id=message_id, in_commands=message.get("receivedInCommands") is True)]


def _resume(value: object) -> Resume:
    if not is_array(value):
        raise BadFrame("running is not a list")
    if len(value) > REPORTS_MOST:
        raise BadFrame(f"more than {REPORTS_MOST} running commands")
    entries = [as_object(part) or {} for part in value]
    return Resume(running=tuple((_text(entry, "commandId"), _attempt(entry)) for entry in entries))


def _report(value: object) -> Report | BadFrame:
    fields = as_object(value) or {}
    kind = fields.get("kind")
    decoder = _REPORTS.get(kind) if isinstance(kind, str) else None
    if decoder is None:
        return BadFrame("a report of unknown kind")
    try:
        return decoder(fields)
    except BadFrame as reason:
        return reason


def _ack(fields: Mapping[str, Any]) -> Report:
    return Report("ack", _text(fields, "commandId"), _attempt(fields))


def _progress(fields: Mapping[str, Any]) -> Report:
    return Report("progress", _text(fields, "commandId"), _attempt(fields), fields.get("progress"))


def _completed(fields: Mapping[str, Any]) -> Report:
    attempt = fields.get("attempt")
    counted = attempt if _is_integer(attempt) else None  # a result of any attempt counts
    return Report("complete", _text(fields, "commandId"), counted, fields.get("result"))


def _failed(fields: Mapping[str, Any]) -> Report:
    kind = "retry" if fields.get("retryable") is True else "failed"
    return Report(kind, _text(fields, "commandId"), _attempt(fields), error=_error(fields))


def _cancelled(fields: Mapping[str, Any]) -> Report:
    return Report("cancelled", _text(fields, "commandId"), _attempt(fields))


def _facts(fields: Mapping[str, Any]) -> Facts:
    facts = as_object(fields.get("facts"))
    if facts is None:
        raise BadFrame("facts is not an object")
    if len(dumps(facts).encode()) > FACTS_BYTES:
        raise BadFrame(f"facts take more than {FACTS_BYTES} bytes")
    return Facts(facts=facts)


def _session_answer(fields: Mapping[str, Any]) -> Report:
    session_id, result = _text(fields, "sessionId"), _without(fields, "type", "timestamp", "success", "error")
    if fields.get("success") is True:
        return Report("answer", session_id, value=result)
    return Report("answer_failed", session_id, value=result, error=_error(fields))


def _session_status(fields: Mapping[str, Any]) -> SessionStatus:
    return SessionStatus(
        session_id=_text(fields, "sessionId"),
        state=as_text(fields.get("state")),
        details=_without(fields, "type", "timestamp", "sessionId", "state"),
    )


def _heartbeat(fields: Mapping[str, Any]) -> Heartbeat:
    sessions = fields.get("activeSessions")
    return Heartbeat(
        capacity=as_object(fields.get("capacity")),
        active_sessions=sessions if _is_integer(sessions) else None,
    )


_MESSAGES: dict[str, Callable[[Mapping[str, Any]], AgentMessage]] = {
    "ack": _ack,
    "complete": _completed,
    "failed": _failed,
    "command_error": _failed,
    "command_response": _session_answer,
    "status": _session_status,
    "vnc_ready": _session_status,
    "facts": _facts,
    "heartbeat": _heartbeat,
    "pong": _heartbeat,
    "shutdown_ack": _heartbeat,
}
_REPORTS: dict[str, Callable[[Mapping[str, Any]], Report]] = {
    "ack": _ack,
    "progress": _progress,
    "complete": _completed,
    "failed": _failed,
    "cancelled": _cancelled,
}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if isinstance(value, str) and value:
        return value
    raise BadFrame(f"no {name}")


def _attempt(fields: Mapping[str, Any]) -> int | None:
    attempt = fields.get("attempt")
    if attempt is None:
        return None
    if not _is_integer(attempt) or attempt == 0:
        raise BadFrame("attempt is not the number that came with the command")
    return attempt


def _is_integer(value: object) -> TypeGuard[int]:
    """Tell whether the value is an integer from 0 that fits its column; JSON's true is none, although Python's is."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _error(fields: Mapping[str, Any]) -> str:
    given = fields.get("error")
    text = given if isinstance(given, str) else "" if given in (None, {}, []) else dumps(given)
    return text or "the agent gave no reason"


def _without(fields: Mapping[str, Any], *names: str) -> Any:
    return {key: item for key, item in fields.items() if key not in names}
