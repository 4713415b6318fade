"""The second protocol of docs/protocol.md from the agent's side, without I/O: decode and encode messages."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

FRAME_BYTES, MESSAGE_BYTES = 32 * 1024, 128 * 1024
"""The largest frame and the largest message that the service accepts."""
BODY_BYTES = MESSAGE_BYTES - 1024
"""The largest result, error or progress, as JSON: with its envelope it fits into a message."""
EXECUTION_SECONDS = 600.0
"""The execution timeout of a command that names none."""
NAMED_MOST = 1000
"""The most commands that one `resume` may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One attempt of a command, as the service sent it."""

    command_id: str
    attempt: int
    action: str
    payload: str = "null"
    """JSON; a payload that is nested too deeply for Python is empty."""
    session_id: str | None = None
    execution_seconds: float = EXECUTION_SECONDS
    deliver_by: datetime | None = None

    def with_attempt(self, attempt: int) -> "Delivery":
        """Return the same command with another attempt."""
        return replace(self, attempt=attempt)

    def without_payload(self) -> "Delivery":
        """Return what is kept of a command that has ended: its payload may be large, or confidential."""
        return replace(self, payload="null")

    def to_json(self) -> str:
        """Return what the state file keeps of it; the attempt has its own column."""
        fields = {
            "action": self.action,
            "sessionId": self.session_id,
            "executionTimeoutSeconds": self.execution_seconds,
        }
        return f'{json.dumps(fields)[:-1]}, "payload": {self.payload or "null"}}}'

    @classmethod
    def from_json(cls, command_id: str, attempt: int, text: str) -> "Delivery":
        """Read what `to_json` wrote."""
        delivery = _delivery({**_load_object(text), "commandId": command_id, "attempt": attempt})
        assert isinstance(delivery, cls)  # noqa: S101 - it was decoded before it was stored
        return delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """The service asks to stop a command."""

    command_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """What the service expects of this connection, in seconds."""

    heartbeat: float
    move_after: float
    reconnect_min: float = 0.0
    reconnect_spread: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """The reports of a message are committed."""

    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """A request for a pong message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A message, or an entry of one, that has no meaning."""

    why: str


Message = Delivery | CancelRequest | Welcome | Received | Ping | Ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened to a command; `kind` is ack, progress, complete, failed or cancelled; `body` is JSON."""

    kind: str
    command_id: str
    attempt: int
    body: str | None = None
    retryable: bool = False

    @property
    def is_end(self) -> bool:
        """Whether the command has ended with it."""
        return self.kind not in {"ack", "progress"}

    def to_json(self) -> str:
        """Return the entry of a message of reports."""
        name = {"complete": "result", "failed": "error", "progress": "progress"}.get(self.kind)
        body = "" if name is None else f', "{name}": {self.body or "null"}'
        retryable = ', "retryable": true' if self.retryable else ""
        head = f'{{"kind": "{self.kind}", "commandId": {json.dumps(self.command_id)}, "attempt": {self.attempt}'
        return f"{head}{body}{retryable}}}"


def decode(text: str | bytes) -> list[Message]:
    """Decode a message of the service; never raises."""
    message = _load_object(text)
    kind, commands, command_id = message.get("type"), message.get("commands"), message.get("commandId")
    if kind == "commands" and isinstance(commands, list):
        return [*_all_received(message.get("received")), *map(_delivery, cast("Sequence[Any]", commands))]
    if kind == "cancel" and isinstance(command_id, str):
        return [CancelRequest(command_id=command_id)]
    if kind == "received" and isinstance(message.get("id"), str):
        return [Received(message_id=message["id"])]
    if kind == "welcome":
        return [_welcome(message)]
    return [Ping()] if kind == "ping" else [Ignored(why=f"an unknown message: {message!r:.200}")]


def _all_received(ids: object) -> list[Received]:
    """Return what a message of commands says is received, instead of a message of its own."""
    if not isinstance(ids, list):
        return []
    return [Received(message_id=each) for each in cast("Sequence[Any]", ids) if isinstance(each, str)]


def encode_reports(reports: Sequence[Report], message_id: str | None) -> tuple[str, int]:
    """Return one message with as many of the reports as fit, and how many those are."""
    name = "" if message_id is None else f'"id": "{message_id}", "receivedInCommands": true, '
    entries: list[str] = []
    room = MESSAGE_BYTES - 128
    for report in reports:
        entry = report.to_json()
        room -= len(entry) + 2
        if entries and room < 0:
            break
        entries.append(entry)
    return f'{{"type": "reports", {name}"reports": [{", ".join(entries)}]}}', len(entries)


def encode_resume(running: Sequence[tuple[str, int]], message_id: str) -> str:
    """Return the first message of a connection: what this agent owns, or has not reported for certain."""
    entries: list[str] = []
    room = MESSAGE_BYTES - 128
    for command_id, attempt in running[:NAMED_MOST]:
        entry = json.dumps({"commandId": command_id, "attempt": attempt})
        room -= len(entry) + 2
        if room < 0:
            break
        entries.append(entry)
    return f'{{"type": "resume", "id": "{message_id}", "running": [{", ".join(entries)}]}}'


def encode_facts(facts: Mapping[str, Any]) -> str:
    """Return the message that says what the agent knows about itself."""
    return json.dumps({"type": "facts", "facts": facts})


def encode_heartbeat(running: int, window: int) -> str:
    """Return a sign of life, with the number of commands that are executed."""
    payload = {"status": "online", "activeSessions": running, "capacity": {"maxCommands": window}}
    return json.dumps({"type": "heartbeat", "payload": payload})


PONG = json.dumps({"type": "pong"})


def fragments(text: str) -> list[str]:
    """Split an encoded message, which is ASCII, into pieces that fit into frames."""
    return [text[start : start + FRAME_BYTES] for start in range(0, len(text), FRAME_BYTES)]


def _delivery(value: Any) -> Delivery | Ignored:
    fields = _as_object(value)
    command_id, attempt, session_id = fields.get("commandId"), fields.get("attempt", 1), fields.get("sessionId")
    if not isinstance(command_id, str) or not command_id.isprintable() or type(attempt) is not int:
        return Ignored(why=f"a command without a usable commandId or attempt: {value!r:.200}")
    seconds = fields.get("executionTimeoutSeconds")
    return Delivery(
        command_id=command_id,
        attempt=attempt,
        action=_action(fields.get("action")),
        payload=_payload(fields),
        session_id=session_id if isinstance(session_id, str) else None,
        execution_seconds=_positive(seconds) or EXECUTION_SECONDS,
        deliver_by=_moment(fields.get("deliverBy")),
    )


def _action(value: Any) -> str:
    """Return the action; one that is no text becomes the name of no handler."""
    return value if isinstance(value, str) else "(not a text)" if isinstance(value, dict | list) else json.dumps(value)


def _payload(fields: Mapping[str, Any]) -> str:
    try:
        return json.dumps(fields.get("payload", {}))
    except RecursionError:
        return ""


def _welcome(message: Mapping[str, Any]) -> Welcome | Ignored:
    heartbeat, move_after = _positive(message.get("heartbeatSeconds")), _positive(message.get("moveAfterSeconds"))
    if not heartbeat or not move_after:
        return Ignored(why=f"a welcome of another form: {message!r:.200}")
    reconnect = _as_object(message.get("reconnect"))
    return Welcome(
        heartbeat=heartbeat,
        move_after=move_after,
        reconnect_min=_positive(reconnect.get("minSeconds")),
        reconnect_spread=_positive(reconnect.get("spreadSeconds")),
    )


def _positive(value: object) -> float:
    """Return a number of seconds; 0 for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    return 0.0


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def _load_object(text: str | bytes) -> dict[str, Any]:
    try:
        return _as_object(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _as_object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
