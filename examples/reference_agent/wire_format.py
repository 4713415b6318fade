"""Both of the agents' protocols as docs/protocol.md has them, without I/O: texts become values, values become texts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

FRAME_BYTES, MESSAGE_BYTES = 32 * 1024, 128 * 1024
"""The largest frame and the largest message that the service takes."""
_ENVELOPE_BYTES = 64
_BODIES = {"complete": "result", "failed": "error", "progress": "progress"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What the agent is to do; the first protocol does not tell the attempt."""

    command_id: str
    attempt: int = 1
    action: object = None
    payload: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """The command is no longer wanted."""

    command_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """The service asks for a sign of life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A message, or a part of one, that means nothing to this agent."""

    why: str


Received = Command | Cancel | Ping | Ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a command; `kind` is ack, progress, complete, failed or cancelled."""

    kind: str
    command_id: str
    attempt: int
    body: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What the agent says of itself: heartbeat, status, pong."""

    type: str
    payload: Mapping[str, Any] | None = None
    stamped: bool = True


Outgoing = Report | Notice


class First:
    """StreamSpace's protocol: one command, one report a message."""

    query = ""

    def decode(self, text: str | bytes) -> list[Received]:
        """Understand a message; never raises."""
        message = _object(text)
        if message is None:
            return [Ignored(why=f"a message that is none: {text[:200]!r}")]
        if message.get("type") == "command":
            return [_command(message.get("payload"))]
        return [_other(message)]

    def encode(self, outgoing: Sequence[Outgoing], now: str) -> tuple[str | None, int]:
        """Return the next message, None where this protocol has none for it, and how many were taken for it."""
        first = outgoing[0]
        if isinstance(first, Notice):
            return _notice(first, now), 1
        if first.kind not in {"ack", "complete", "failed"}:
            return None, 1
        payload = {"commandId": first.command_id, **_body(first)}
        return json.dumps({"payload": payload, "timestamp": now, "type": first.kind}), 1


class Second:
    """The batched protocol: many commands, many reports a message, each with its attempt."""

    def __init__(self, window: int) -> None:
        """Take so many commands unacknowledged, 1 to 100."""
        self.query = f"&protocol=2&window={window}"

    def decode(self, text: str | bytes) -> list[Received]:
        """Understand a message; never raises."""
        message = _object(text)
        if message is None:
            return [Ignored(why=f"a message that is none: {text[:200]!r}")]
        kind, commands, command_id = message.get("type"), message.get("commands"), message.get("commandId")
        if kind == "commands" and isinstance(commands, list):
            return [_command(item) for item in cast("Sequence[Any]", commands)]
        if kind == "cancel" and isinstance(command_id, str):
            return [Cancel(command_id=command_id)]
        return [_other(message)]

    def encode(self, outgoing: Sequence[Outgoing], now: str) -> tuple[str | None, int]:
        """Return the next message, with as many reports as it holds, and how many were taken for it."""
        first = outgoing[0]
        if isinstance(first, Notice):
            return _notice(first, now), 1
        entries: list[str] = []
        room = MESSAGE_BYTES - _ENVELOPE_BYTES
        for report in outgoing:
            if isinstance(report, Notice):
                break
            fields = {"kind": report.kind, "commandId": report.command_id, "attempt": report.attempt, **_body(report)}
            entry = json.dumps(fields)
            room -= len(entry) + 2
            if entries and room < 0:
                break
            entries.append(entry)
        return f'{{"type": "reports", "reports": [{", ".join(entries)}]}}', len(entries)


Dialect = First | Second


def fragments(text: str) -> list[str]:
    """Split a message, ASCII as both dialects make it, into what fits into frames."""
    return [text[start : start + FRAME_BYTES] for start in range(0, len(text), FRAME_BYTES)]


def _notice(notice: Notice, now: str) -> str:
    payload = {} if notice.payload is None else {"payload": notice.payload}
    return json.dumps({**payload, **({"timestamp": now} if notice.stamped else {}), "type": notice.type})


def _body(report: Report) -> dict[str, Any]:
    name = _BODIES.get(report.kind)
    return {} if name is None else {name: report.body}


def _command(value: Any) -> Received:
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    command_id, attempt, payload = fields.get("commandId"), fields.get("attempt", 1), fields.get("payload")
    if not isinstance(command_id, str) or type(attempt) is not int:
        return Ignored(why=f"a command without an id or a usable attempt: {value!r:.200}")
    arguments = cast("dict[str, Any]", payload) if isinstance(payload, dict) else {}
    return Command(command_id=command_id, attempt=attempt, action=fields.get("action"), payload=arguments)


def _other(message: Mapping[str, Any]) -> Received:
    return Ping() if message.get("type") == "ping" else Ignored(why=f"a message of type {message.get('type')!r:.200}")


def _object(text: str | bytes) -> dict[str, Any] | None:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
