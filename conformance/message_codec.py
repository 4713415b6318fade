"""The service's side of both protocols, without I/O: commands become messages, messages become reports."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

ENDS = frozenset({"complete", "failed", "cancelled"})
_KINDS = ENDS | {"ack", "progress"}
_OTHER_TYPES = frozenset({"heartbeat", "status", "pong", "vnc_ready", "shutdown_ack"})
_FIRST_TYPES = frozenset({"ack", "complete", "failed", "command_response", "command_error"})
_NOVEL = {"novelty": {"since": "tomorrow"}, "priority": 7}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command as the service delivers it."""

    command_id: str
    action: str
    payload: Mapping[str, Any] = field(default_factory=dict[str, Any])
    attempt: int = 1

    @property
    def session_id(self) -> object:
        """The session that the payload names, if any."""
        return self.payload.get("sessionId")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an agent says about a command; `body` is its result, error or progress."""

    kind: str
    command_id: str | None
    attempt: object = None
    body: Any = None
    session_id: object = None

    @property
    def end(self) -> bool:
        """Whether the command is over with this."""
        return self.kind in ENDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One message of an agent, understood as far as it goes; `fault` names the check that it fails, and why."""

    type: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reports: tuple[Report, ...] = ()
    fault: tuple[str, str] | None = None


def encode(protocol: int, commands: Sequence[Command], *, novel: bool = False) -> list[str]:
    """Return the messages that deliver commands: one each in the first protocol, one for all in the second."""
    extra: Mapping[str, Any] = _NOVEL if novel else {}
    if protocol == 1:
        return [_first(command, extra) for command in commands]
    listed = [
        {
            "commandId": command.command_id,
            "attempt": command.attempt,
            "action": command.action,
            "sessionId": command.session_id,
            "payload": command.payload,
            "executionTimeoutSeconds": 600,
            **extra,
        }
        for command in commands
    ]
    return [_text({"type": "commands", "commands": listed, **extra})]


def _first(command: Command, extra: Mapping[str, Any]) -> str:
    fields = {"commandId": command.command_id, "action": command.action, "payload": command.payload}
    return _text({"type": "command", "payload": {**fields, **extra}, **extra})


def _text(message: Mapping[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False)


def cancel(command: Command) -> str:
    """Return the message that asks to cancel a command."""
    return json.dumps({"type": "cancel", "commandId": command.command_id, "attempt": command.attempt})


def decode(protocol: int, data: bytes) -> Said:
    """Understand one message of an agent."""
    try:
        value: Any = json.loads(data.decode(), parse_constant=_refuse)
    except ValueError as error:
        return Said(fault=("one-document", f"{error}: {excerpt(data)}"))
    message = _object(value)
    kind = message.get("type") if message is not None else None
    if message is None or not isinstance(kind, str):
        return Said(fault=("known-types", f"a message without a type: {excerpt(data)}"))
    payload = _object(message.get("payload"))
    fields = message if payload is None else payload
    if kind in _OTHER_TYPES:
        return Said(type=kind, fields=fields)
    if protocol == 1 and kind in _FIRST_TYPES:
        return _first_report(kind, fields, data)
    if protocol == 2 and kind == "reports":  # noqa: PLR2004 - the second protocol
        return _reports(message.get("reports"), data)
    return Said(type=kind, fault=("known-types", f"type {kind!r} is none of protocol {protocol}: {excerpt(data)}"))


def excerpt(data: bytes | str) -> str:
    """Return the beginning of a message, for people."""
    text = data.decode(errors="replace") if isinstance(data, bytes) else data
    return text if len(text) <= 160 else f"{text[:160]}… ({len(text)} characters)"  # noqa: PLR2004 - two lines


def _first_report(kind: str, fields: Mapping[str, Any], data: bytes) -> Said:
    if kind == "command_response":
        success = fields.get("success")
        if not isinstance(fields.get("sessionId"), str) or not isinstance(success, bool):
            return Said(type=kind, fault=("reports", f"sessionId or success is missing: {excerpt(data)}"))
        body = {name: fields[name] for name in fields if name not in {"type", "timestamp"}}
        ended = "complete" if success else "failed"
        return Said(
            type=kind, reports=(Report(kind=ended, command_id=None, body=body, session_id=fields["sessionId"]),)
        )
    command_id = fields.get("commandId")
    if not isinstance(command_id, str):
        return Said(type=kind, fault=("reports", f"commandId is no text: {excerpt(data)}"))
    kind = "failed" if kind == "command_error" else kind
    report = Report(kind=kind, command_id=command_id, body=fields.get("error" if kind == "failed" else "result"))
    return Said(type=kind, reports=(report,), fault=_error_fault(report, data))


def _reports(value: Any, data: bytes) -> Said:
    if not isinstance(value, list):
        return Said(type="reports", fault=("reports", f"reports is no list: {excerpt(data)}"))
    reports: list[Report] = []
    fault: tuple[str, str] | None = None
    for item in cast("Sequence[Any]", value):
        entry = _object(item) or {}
        kind, command_id = entry.get("kind"), entry.get("commandId")
        if not isinstance(kind, str) or kind not in _KINDS or not isinstance(command_id, str):
            fault = fault or ("reports", f"kind or commandId is wrong: {excerpt(json.dumps(item))}")
            continue
        name = {"complete": "result", "failed": "error", "progress": "progress"}.get(kind, "")
        report = Report(kind=kind, command_id=command_id, attempt=entry.get("attempt"), body=entry.get(name))
        reports.append(report)
        fault = fault or _error_fault(report, data)
        if not isinstance(entry.get("retryable", False), bool):
            fault = fault or ("reports", f"retryable is neither true nor false: {excerpt(json.dumps(item))}")
        if kind == "progress" and "progress" not in entry:
            fault = fault or ("reports", f"progress is missing: {excerpt(json.dumps(item))}")
    return Said(type="reports", reports=tuple(reports), fault=fault)


def _error_fault(report: Report, data: bytes) -> tuple[str, str] | None:
    if report.kind == "failed" and not (isinstance(report.body, str) and report.body):
        return ("reports", f"failed says no error: {excerpt(data)}")
    return None


def _object(value: Any) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
