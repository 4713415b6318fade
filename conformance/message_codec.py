"""Both wire formats from the service's side, without I/O: encode commands, decode what an agent sends.

This is an independent reading of docs/protocol.md.  It does not use the service's own decoder.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

ENDS = frozenset({"complete", "failed", "cancelled"})
_OTHER_TYPES = frozenset({"heartbeat", "facts", "status", "pong", "vnc_ready", "shutdown_ack"})
_FIRST_PROTOCOL_TYPES = frozenset({"ack", "complete", "failed", "command_response", "command_error"})
_SECOND_PROTOCOL_KINDS = ENDS | {"ack", "progress"}
_BODY_FIELDS = {"complete": "result", "failed": "error", "command_error": "error", "progress": "progress"}
_UNKNOWN_FIELDS = {"futureField": {"since": "tomorrow"}, "priority": 7}
_EXCERPT_CHARACTERS = 160
ID_CHARACTERS = 64
"""The longest id of a message of reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command as the service delivers it."""

    command_id: str
    action: str
    payload: Mapping[str, Any] = field(default_factory=dict[str, Any])
    attempt: int = 1
    deliver_by: str | None = None

    @property
    def session_id(self) -> object:
        """The session that the payload names, or None."""
        return self.payload.get("sessionId")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an agent says about a command; `body` is its result, its error or its progress."""

    kind: str
    command_id: str | None
    attempt: object = None
    body: Any = None
    session_id: object = None

    @property
    def is_end(self) -> bool:
        """Whether this report ends the command."""
        return self.kind in ENDS


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedMessage:
    """One message of an agent; `problem` names the check that the message fails, and the reason."""

    type: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reports: tuple[Report, ...] = ()
    message_id: str | None = None
    """The id that the agent wants to have confirmed."""
    problem: tuple[str, str] | None = None


def encode(protocol: int, commands: Sequence[Command], *, unknown_fields: bool = False) -> list[str]:
    """Return the messages that deliver the commands: one for each in protocol 1, one for all in protocol 2."""
    extra: Mapping[str, Any] = _UNKNOWN_FIELDS if unknown_fields else {}
    entries: list[dict[str, Any]] = [
        {"commandId": command.command_id, "action": command.action, "payload": command.payload, **extra}
        for command in commands
    ]
    if protocol == 1:
        return [_dump({"type": "command", "payload": entry, **extra}) for entry in entries]
    for entry, command in zip(entries, commands, strict=True):
        entry.update(attempt=command.attempt, sessionId=command.session_id, executionTimeoutSeconds=600)
        if command.deliver_by is not None:
            entry["deliverBy"] = command.deliver_by
    return [_dump({"type": "commands", "commands": entries, **extra})]


def encode_cancel(command: Command) -> str:
    """Return the message that asks the agent to cancel a command."""
    return _dump({"type": "cancel", "commandId": command.command_id, "attempt": command.attempt})


def encode_welcome(epoch: int) -> str:
    """Return the first message to an agent of protocol 2."""
    reconnect = {"minSeconds": 1, "spreadSeconds": 30}
    return _dump(
        {"type": "welcome", "epoch": epoch, "heartbeatSeconds": 30, "moveAfterSeconds": 6300, "reconnect": reconnect}
    )


def encode_received(message_id: str) -> str:
    """Return the confirmation of a message of reports."""
    return _dump({"type": "received", "id": message_id})


def decode(protocol: int, data: bytes) -> DecodedMessage:
    """Decode one message of an agent; never raises."""
    try:
        value: Any = json.loads(data.decode(), parse_constant=_reject_constant)
    except ValueError as error:
        return DecodedMessage(problem=("one-document", f"{error}: {excerpt(data)}"))
    message = _as_object(value)
    kind = message.get("type")
    if not isinstance(kind, str):
        return DecodedMessage(problem=("known-types", f"a message without a type: {excerpt(data)}"))
    # The docker-agent sends its fields flat, the k8s-agent inside `payload`.
    fields = _as_object(message.get("payload")) or message
    if kind in _OTHER_TYPES:
        return DecodedMessage(type=kind, fields=fields)
    if protocol == 1 and kind in _FIRST_PROTOCOL_TYPES:
        return _decode_reports(kind, [{**fields, "kind": kind}], _FIRST_PROTOCOL_TYPES, data)
    if protocol == 2 and kind in {"reports", "resume"}:  # noqa: PLR2004 - the second protocol
        return _decode_second_protocol(kind, message, data)
    why = f"protocol {protocol} has no message type {kind!r}: {excerpt(data)}"
    return DecodedMessage(type=kind, problem=("known-types", why))


def excerpt(data: bytes | str) -> str:
    """Return the beginning of a message, to be shown to a person."""
    text = data.decode(errors="replace") if isinstance(data, bytes) else data
    return text if len(text) <= _EXCERPT_CHARACTERS else f"{text[:_EXCERPT_CHARACTERS]}… ({len(text)} characters)"


def _decode_second_protocol(kind: str, message: Mapping[str, Any], data: bytes) -> DecodedMessage:
    if kind == "resume":
        return _with_id(_decode_resume(message.get("running"), data), message.get("id"))
    return _with_id(_decode_reports(kind, message.get("reports"), _SECOND_PROTOCOL_KINDS, data), message.get("id"))


def _with_id(decoded: DecodedMessage, message_id: object) -> DecodedMessage:
    if message_id is None:
        return decoded
    if not isinstance(message_id, str) or not 0 < len(message_id) <= ID_CHARACTERS:
        return replace(decoded, problem=("reports", f"id is {message_id!r:.100}"))
    return replace(decoded, message_id=message_id)


def _decode_resume(running: Any, data: bytes) -> DecodedMessage:
    if not isinstance(running, list):
        running = [None]
    entries = [_as_object(entry) for entry in cast("Sequence[Any]", running)]
    if all(isinstance(entry.get("commandId"), str) and type(entry.get("attempt")) is int for entry in entries):
        return DecodedMessage(type="resume")
    return DecodedMessage(type="resume", problem=("resume", f"running is no list of commands: {excerpt(data)}"))


def _decode_reports(type_: str, entries: Any, kinds: frozenset[str], data: bytes) -> DecodedMessage:
    if not isinstance(entries, list):
        return DecodedMessage(type=type_, problem=("reports", f"reports is not a list: {excerpt(data)}"))
    decoded = [_decode_report(_as_object(entry), kinds) for entry in cast("Sequence[Any]", entries)]
    reports = tuple(report for report, _ in decoded if report is not None)
    problems = [("reports", f"{problem}: {excerpt(data)}") for _, problem in decoded if problem is not None]
    return DecodedMessage(type=type_, reports=reports, problem=problems[0] if problems else None)


def _decode_report(fields: Mapping[str, Any], kinds: frozenset[str]) -> tuple[Report | None, str | None]:
    """Return the report as far as it can be read, and what is wrong with it."""
    kind, command_id, attempt = fields.get("kind"), fields.get("commandId"), fields.get("attempt")
    if not isinstance(kind, str) or kind not in kinds:
        return None, f"a report of kind {kind!r}"
    if kind == "command_response":
        return _decode_session_response(fields)
    if not isinstance(command_id, str):
        return None, "commandId is not a string"
    body = fields.get(_BODY_FIELDS.get(kind, ""))
    ends_as = "failed" if kind == "command_error" else kind
    problem = None
    if ends_as == "failed" and not (isinstance(body, str) and body):
        problem = "a failure without a text in error"
    elif not isinstance(fields.get("retryable", False), bool):
        problem = "retryable is not true or false"
    elif kind == "progress" and "progress" not in fields:
        problem = "the field progress is missing"
    return Report(kind=ends_as, command_id=command_id, attempt=attempt, body=body), problem


def _decode_session_response(fields: Mapping[str, Any]) -> tuple[Report | None, str | None]:
    """Decode the docker-agent's `command_response`, which names the session and not the command."""
    success, session_id = fields.get("success"), fields.get("sessionId")
    if not isinstance(success, bool) or not isinstance(session_id, str):
        return None, "sessionId or success is missing"
    body = {name: fields[name] for name in fields if name not in {"kind", "type", "timestamp"}}
    kind = "complete" if success else "failed"
    return Report(kind=kind, command_id=None, body=body, session_id=session_id), None


def _dump(message: Mapping[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False)


def _as_object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
