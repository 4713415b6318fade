"""Explains the state of a command: one reason, as a code for programs and a sentence for people."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.rows import dict_row

from dispatcher.access.scopes import Scope
from dispatcher.commands import command_records
from dispatcher.commands.lifecycle import ENDED, Status
from dispatcher.errors import UnknownCommand
from dispatcher.platform.database import Connection
from dispatcher.platform.statements import statement

MOST = 1000
"""The most commands before a command that are counted; there may be more."""

_DIAGNOSTICS = statement(__package__, "explanation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A code for programs and a sentence for people."""

    command_id: str
    status: Status
    reason: str
    sentence: str


def explain(conn: Connection, command_id: str, scope: Scope) -> Reason:
    """Compute the reason from the rows as they are now; raises UnknownCommand."""
    command_records.find(conn, command_id, scope)
    row = diagnostics(conn, command_id)
    if row is None:
        raise UnknownCommand(f"There is no command {command_id!r}.", commandId=command_id)
    status = Status(row["status"])
    reason, sentence = _of_pending(row) if status is Status.PENDING else _of(status, row)
    return Reason(command_id=command_id, status=status, reason=reason, sentence=sentence)


def diagnostics(conn: Connection, command_id: str) -> dict[str, Any] | None:
    """Read everything that can delay a command (explanation.sql); None if the command no longer exists."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_DIAGNOSTICS, {"command_id": command_id, "most": MOST}).fetchone()


def _of(status: Status, row: dict[str, Any]) -> tuple[str, str]:
    if status is Status.SENT:
        return (
            "waiting-for-ack",
            (
                f"Attempt {row['attempt']} of {row['max_attempts']} was sent {_at(row['sent_at'])}; "
                f"the agent has until {_at(row['ack_deadline'])} to answer.{_meanwhile(row)}"
            ),
        )
    if status is Status.ACKNOWLEDGED:
        return (
            "executing",
            (
                f"The agent has been executing it since {_at(row['acknowledged_at'])}; "
                f"it has until {_at(row['execution_deadline'])}.{_meanwhile(row)}"
            ),
        )
    if status is Status.TIMED_OUT and row["stop_wanted"]:
        return (
            "timed-out",
            f"It ended {_at(row['completed_at'])}: {row['error_message']}.{_meanwhile(row)}",
        )
    ended = f"It ended {_at(row['completed_at'])}: {row['error_message'] or row['cause']}."
    return ("ended" if status in ENDED else "unknown", ended)


def _meanwhile(row: dict[str, Any]) -> str:
    asked = ""
    if row["stop_wanted"] or row["cancel_requested_at"]:
        told = row["stop_epoch"] is not None
        if row["dialect"] != "batching":
            asked = " A cancel was requested; the agent's protocol has no way to tell it."
        elif told:
            asked = " The agent was told to stop it, and has not answered yet."
        else:
            asked = " The agent is told to stop it as soon as it can be reached."
    away = f" The agent has been offline since {_at(row['last_seen_at'])}." if row["connection_id"] is None else ""
    return asked + away


def _of_pending(row: dict[str, Any]) -> tuple[str, str]:
    agent = f"Agent {row['agent_id']!r}"
    reasons: list[tuple[object, str, str]] = [
        (not row["known"], "agent-unknown", f"{agent} does not exist."),
        (row["deleted_at"], "agent-deleted", f"{agent} was deleted {_at(row['deleted_at'])}."),
        (
            row["approval"] != "approved",
            "agent-not-approved",
            f"{agent} is {row['approval']}; an admin must approve it.",
        ),
        (row["of_earlier_agent"], "agent-deleted", f"It was for an earlier agent of the id {row['agent_id']!r}."),
        (row["late"], "expired", "It was not delivered in time; the next sweep expires it."),
        (row["early"], "not-before", f"It will not be delivered before {_at(row['not_before'])}."),
        (row["known"] and row["connection_id"] is None, "agent-away", _offline(agent, row)),
        (
            row["mute"],
            "agent-mute",
            f"{agent} is connected and has said nothing since it was sent a command; restart the agent's process.",
        ),
        (
            row["refusals"],
            "refused",
            (
                f"The gateway has refused the last {row['refusals']} posts to the agent since {_at(row['refused_since'])}; "
                f"no attempt was used, and the next try is {_at(row['throttled_until'])}."
            ),
        ),
        (
            row["throttled"],
            "throttled",
            f"The last post to the agent did not succeed; the next try is {_at(row['throttled_until'])}.",
        ),
        (
            row["paced"],
            "paced",
            f"Attempt {row['attempt']} was not answered; the next one is due {_at(row['retry_at'])}.",
        ),
        (row["window_full"], "behind", f"The agent has not yet answered command {row['in_flight']}."),
        (row["ahead"], "behind", f"Command {row['first']} goes before it{_and_more(row['ahead'] - 1)}."),
        (row["leased"], "being-delivered", "It is being delivered right now."),
    ]
    for holds, reason, sentence in reasons:
        if holds:
            return reason, sentence
    return "due", "It is due; the next delivery or sweep sends it."


def _and_more(number: int) -> str:
    if number <= 0:
        return ""
    at_least = "at least " if number + 1 == MOST else ""
    return f", and {at_least}{number} more for the same agent"


def _offline(agent: str, row: dict[str, Any]) -> str:
    if row["last_seen_at"] is None:
        return f"{agent} has never connected; the command is delivered when it does."
    return f"{agent} has been offline since {_at(row['last_seen_at'])}; the command is delivered when it reconnects."


def _at(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else "at an unknown time"
