"""What simulated agents say, in the words of each protocol."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.simulation.history import CommandRow, PostedCommand

BATCHES = (
    "ack",
    "complete",
    "progress",
    "failed",
    "retry",
    "cancelled",
    "ack+complete+failed",
    "failed+complete",
    "ack+failed",
)
"""Reports about one command in one message of protocol 2, in the written order."""
REPORT_KINDS = {
    "k8s": ("ack", "complete", "ack", "failed", "joined"),
    "docker": ("answer", "answer", "failed answer", "command_error"),
    "batch": ("both", *(f"report {kinds}" for kinds in BATCHES)),
}
CORRECT_REPORTS = {"k8s": ("ack", "complete"), "docker": ("answer",), "batch": ("both",)}
_KINDS = {
    "both": ("ack", "complete"),
    "joined": ("ack", "complete"),
    "answer": ("complete",),
    "failed answer": ("failed",),
    "command_error": ("failed",),
}
_UNDER_WAY = ("sent", "acknowledged")
_GUESSED = ("timed_out", "dead", "expired")
_FAILED = {"error": "why"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a message says about a command."""

    kinds: tuple[str, ...] = ()
    command_id: str | None = None
    """None: it names only a session, or what its agent executes."""
    attempt: int | None = None
    session_id: str | None = None
    running: dict[str, int] | None = None
    """What the agent executes."""


def kinds_of(kind: str) -> tuple[str, ...]:
    """Return what a message of this kind says, in the written order."""
    return _KINDS.get(kind) or tuple(kind.removeprefix("report ").split("+"))


def is_numbered(kind: str) -> bool:
    """Tell whether reports of this kind name the attempt: those of protocol 2 do."""
    return kind == "both" or kind.startswith("report ")


def confirmed_by(message: dict[str, Any]) -> Sequence[str]:
    """Return the ids of the messages that a message of the service confirms."""
    return [message["id"]] if message["type"] == "received" else message.get("received", [])


def message_of(command: PostedCommand, kind: str, session_id: str | None, number: int) -> str:
    """Write an agent's message about a command; `number` makes each message different from all others."""
    named = {"commandId": command.command_id}
    stamp = {"timestamp": number}
    if is_numbered(kind):
        reports = [_report(each, number, {**named, "attempt": command.attempt}) for each in kinds_of(kind)]
        how = {"receivedInCommands": number % 2 == 0}
        return json.dumps({"type": "reports", "id": str(number), **how, "reports": reports})
    if kind == "command_error":
        return json.dumps({"type": kind, **named, **_FAILED, **stamp})
    if kind in {"answer", "failed answer"}:
        answer = {"type": "command_response", "sessionId": session_id, "success": kind == "answer", **stamp}
        return json.dumps(answer if kind == "answer" else {**answer, **_FAILED})
    return "\n".join(
        json.dumps({"type": each, "payload": {**named, **_FAILED, "result": 1}, **stamp}) for each in kinds_of(kind)
    )


def _report(kind: str, number: int, named: dict[str, Any]) -> dict[str, Any]:
    if kind == "retry":
        return {"kind": "failed", **named, **_FAILED, "retryable": True}
    return {"kind": kind, **named, **_FAILED, "result": {"n": 1}, "progress": number}


def resume_of(running: dict[str, int], number: int) -> str:
    """Write what an agent of protocol 2 executes."""
    entries = [{"commandId": command_id, "attempt": attempt} for command_id, attempt in running.items()]
    return json.dumps({"type": "resume", "running": entries, "timestamp": number})


def meant_by_answer(
    commands: dict[str, CommandRow], agent_id: str, incarnation: int, session_id: str, newest: int
) -> str | None:
    """Return the command that an answer of a session means: the first that was sent over this connection or an older one."""
    own = [
        command
        for command in commands.values()
        if command.agent_id == agent_id
        and command.incarnation in {None, incarnation}
        and command.first_epoch is not None
        and command.attempt > 0
    ]
    of_session = [
        (command.status in _GUESSED, command.seq, command.command_id)
        for command in own
        if command.session_id == session_id
        and command.status in (*_UNDER_WAY, *_GUESSED)
        and (command.first_epoch or 0) <= newest
    ]
    if of_session:
        return min(of_session)[2]
    # A command whose session nobody recorded: it is meant if nothing else is in flight.
    in_flight = [command for command in own if command.status == "sent" and (command.epoch or 0) <= newest]
    return in_flight[0].command_id if len(in_flight) == 1 and in_flight[0].session_id is None else None
