"""Both protocols of docs/protocol.md, without I/O: decode what the service sends, encode what the agent sends."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

FRAME_BYTES, MESSAGE_BYTES = 32 * 1024, 128 * 1024
"""The largest frame and the largest message that the service accepts."""
_ENVELOPE_BYTES = 128
_BODY_FIELDS = {"complete": "result", "failed": "error", "progress": "progress"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What the agent has to do; in protocol 1 the attempt is always 1."""

    command_id: str
    attempt: int = 1
    action: object = None
    payload: Mapping[str, Any] = field(default_factory=dict[str, Any])
    deliver_by: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """A request to cancel a command."""

    command_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """A request for a pong message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """What the service expects of this connection, in seconds."""

    heartbeat: float
    move_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """The reports of a message are committed."""

    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A message, or an entry of one, that the agent does not understand."""

    why: str


Received = Command | Cancel | Ping | Welcome | Confirmation | Ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened to a command; `kind` is ack, progress, complete, failed or cancelled."""

    kind: str
    command_id: str
    attempt: int
    body: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A message about the agent itself: heartbeat, status or pong."""

    type: str
    payload: Mapping[str, Any] | None = None


Outgoing = Report | Notice


class FirstProtocol:
    """One command in a message, one report in a message."""

    query = ""

    def decode(self, text: str | bytes) -> list[Received]:
        """Decode a message; never raises."""
        message = _load_object(text)
        if message.get("type") == "command":
            return [_command(message.get("payload"))]
        return [_ping_or_ignored(message)]

    def resume(self, running: Sequence[tuple[str, int]]) -> str | None:  # noqa: ARG002 - this protocol has no such message
        """Return the first message of a connection, if this protocol has one."""
        return None

    def encode(self, outgoing: Sequence[Outgoing], message_id: str | None = None) -> tuple[str | None, int]:  # noqa: ARG002
        """Return the next message and how many items are in it; None for a report that this protocol does not have."""
        first = outgoing[0]
        if isinstance(first, Notice):
            return _notice(first), 1
        if first.kind not in {"ack", "complete", "failed"}:
            return None, 1
        return json.dumps({"type": first.kind, "payload": {"commandId": first.command_id, **_body(first)}}), 1


class SecondProtocol:
    """Many commands and many reports in a message, each with its attempt; `window` commands may be unacknowledged."""

    def __init__(self, window: int) -> None:
        self.query = f"&protocol=2&window={window}"

    def decode(self, text: str | bytes) -> list[Received]:
        """Decode a message; never raises."""
        message = _load_object(text)
        kind, commands, command_id = message.get("type"), message.get("commands"), message.get("commandId")
        if kind == "commands" and isinstance(commands, list):
            return [_command(entry) for entry in cast("Sequence[Any]", commands)]
        if kind == "cancel" and isinstance(command_id, str):
            return [Cancel(command_id=command_id)]
        if kind == "received" and isinstance(message.get("id"), str):
            return [Confirmation(message_id=message["id"])]
        if kind == "welcome":
            return [_welcome(message)]
        return [_ping_or_ignored(message)]

    def resume(self, running: Sequence[tuple[str, int]]) -> str | None:
        """Return the first message of a connection: what this agent still executes, or has not reported for certain."""
        entries = [{"commandId": command_id, "attempt": attempt} for command_id, attempt in running]
        return json.dumps({"type": "resume", "running": entries})

    def encode(self, outgoing: Sequence[Outgoing], message_id: str | None = None) -> tuple[str | None, int]:
        """Return the next message, with as many reports as it can hold, and how many items are in it.

        The service confirms the id of the message, if it has one, when its reports are committed.
        """
        if isinstance(outgoing[0], Notice):
            return _notice(outgoing[0]), 1
        entries: list[str] = []
        room = MESSAGE_BYTES - _ENVELOPE_BYTES
        for item in outgoing:
            if isinstance(item, Notice):
                break
            entry = json.dumps(
                {"kind": item.kind, "commandId": item.command_id, "attempt": item.attempt, **_body(item)}
            )
            room -= len(entry) + 2
            if entries and room < 0:
                break
            entries.append(entry)
        name = "" if message_id is None else f'"id": "{message_id}", '
        return f'{{"type": "reports", {name}"reports": [{", ".join(entries)}]}}', len(entries)


Protocol = FirstProtocol | SecondProtocol


def fragments(text: str) -> list[str]:
    """Split an encoded message, which is ASCII, into pieces that fit into frames."""
    return [text[start : start + FRAME_BYTES] for start in range(0, len(text), FRAME_BYTES)]


def _notice(notice: Notice) -> str:
    payload = {} if notice.payload is None else {"payload": notice.payload}
    return json.dumps({"type": notice.type, **payload})


def _body(report: Report) -> dict[str, Any]:
    name = _BODY_FIELDS.get(report.kind)
    return {} if name is None else {name: report.body}


def _command(value: Any) -> Received:
    fields = _as_object(value)
    command_id, attempt = fields.get("commandId"), fields.get("attempt", 1)
    if not isinstance(command_id, str) or type(attempt) is not int:
        return Ignored(why=f"a command without a usable commandId or attempt: {value!r:.200}")
    payload = _as_object(fields.get("payload"))
    return Command(
        command_id=command_id,
        attempt=attempt,
        action=fields.get("action"),
        payload=payload,
        deliver_by=_moment(fields.get("deliverBy")),
    )


def _moment(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _welcome(message: Mapping[str, Any]) -> Received:
    heartbeat, move_after = message.get("heartbeatSeconds"), message.get("moveAfterSeconds")
    if isinstance(heartbeat, int | float) and isinstance(move_after, int | float) and min(heartbeat, move_after) > 0:
        return Welcome(heartbeat=heartbeat, move_after=move_after)
    return Ignored(why=f"a welcome of another form: {message!r:.200}")


def _ping_or_ignored(message: Mapping[str, Any]) -> Received:
    return Ping() if message.get("type") == "ping" else Ignored(why=f"an unknown message: {message!r:.200}")


def _load_object(text: str | bytes) -> dict[str, Any]:
    try:
        return _as_object(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _as_object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
