"""Explains the state of a command: one reason, as a code for programs and a sentence for people."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.rows import dict_row

from dispatcher.access.scopes import Scope
from dispatcher.commands import command_records
from dispatcher.commands.lifecycle import ENDED, Status
from dispatcher.platform.database import Connection
from dispatcher.platform.functions import call
from dispatcher.platform.statements import fragment

MOST = 1000
"""The most commands before a command that are counted; there may be more."""

_DIAGNOSTICS = call(fragment(__package__, "explanation"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """A reason as a code for programs and a sentence for people, and what would end it; None: time, or nothing has to."""

    reason: str
    sentence: str
    unblock: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A code for programs and a sentence for people."""

    command_id: str
    status: Status
    reason: str
    sentence: str
    unblock: str | None


def explain(conn: Connection, command_id: str, scope: Scope) -> Reason:
    """Compute the reason from the rows as they are now; raises UnknownCommand."""
    command_records.find(conn, command_id, scope)
    row = diagnostics(conn, command_id)
    if row is None:
        raise command_records.unknown(command_id)
    status = Status(row["status"])
    why = of_pending(row) if status is Status.PENDING else _of(status, row)
    return Reason(command_id=command_id, status=status, reason=why.reason, sentence=why.sentence, unblock=why.unblock)


def diagnostics(conn: Connection, command_id: str) -> dict[str, Any] | None:
    """Read everything that can delay a command (explanation.sql); None if the command no longer exists."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_DIAGNOSTICS, {"command_id": command_id, "most": MOST}).fetchone()


def _of(status: Status, row: dict[str, Any]) -> Why:
    start = None if row["connection_id"] else _START
    if status is Status.SENT:
        return Why(
            reason="waiting-for-ack",
            sentence=(
                f"Attempt {row['attempt']} of {row['max_attempts']} was sent {_at(row['sent_at'])}; "
                f"the agent has until {_at(row['ack_deadline'])} to answer.{_meanwhile(row)}"
            ),
            unblock=start,
        )
    if status is Status.ACKNOWLEDGED:
        return Why(
            reason="executing",
            sentence=(
                f"The agent has been executing it since {_at(row['acknowledged_at'])}; "
                f"it has until {_at(row['execution_deadline'])}.{_meanwhile(row)}"
            ),
            unblock=start or "The agent must report an end; a cancel asks it to stop.",
        )
    if status is Status.TIMED_OUT and row["stop_wanted"]:
        return Why(
            reason="timed-out",
            sentence=f"It ended {_at(row['completed_at'])}: {row['error_message']}.{_meanwhile(row)}",
            unblock="The agent's own report replaces this end; a redrive submits the command again.",
        )
    return Why(
        reason="ended" if status in ENDED else "unknown",
        sentence=f"It ended {_at(row['completed_at'])}: {row['error_message'] or row['cause']}.",
        unblock=None if status is Status.COMPLETED else "A redrive submits the command again.",
    )


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


def of_pending(row: dict[str, Any]) -> Why:
    """Return the one reason why a pending command waits, from its diagnostics."""
    agent = f"Agent {row['agent_id']!r}"
    reasons: list[tuple[object, Why]] = [
        (
            not row["known"],
            Why(
                reason="agent-unknown",
                sentence=f"{agent} does not exist.",
                unblock="Create the agent, or cancel the command.",
            ),
        ),
        (
            row["deleted_at"],
            Why(
                reason="agent-deleted",
                sentence=f"{agent} was deleted {_at(row['deleted_at'])}.",
                unblock="Cancel the command; submit it for another agent.",
            ),
        ),
        (
            row["approval"] != "approved",
            Why(
                reason="agent-not-approved",
                sentence=f"{agent} is {row['approval']}; an admin must approve it.",
                unblock=f"An admin calls POST /api/v1/agents/{row['agent_id']}/approve.",
            ),
        ),
        (
            row["of_earlier_agent"],
            Why(
                reason="agent-deleted",
                sentence=f"It was for an earlier agent of the id {row['agent_id']!r}.",
                unblock="Cancel the command; submit it again for the agent of today.",
            ),
        ),
        (
            row["late"],
            Why(
                reason="expired",
                sentence="It was not delivered in time; the next sweep expires it.",
                unblock="When it has expired, a redrive with a longer ttlSeconds submits it again.",
            ),
        ),
        (
            row["early"],
            Why(reason="not-before", sentence=f"It will not be delivered before {_at(row['not_before'])}."),
        ),
        *of_agent(agent, row),
        (
            row["paced"],
            Why(
                reason="paced",
                sentence=f"Attempt {row['attempt']} was not answered; the next one is due {_at(row['retry_at'])}.",
            ),
        ),
        (
            row["window_full"],
            Why(
                reason="behind",
                sentence=f"The agent has not yet answered command {row['in_flight']}.",
                unblock=f"The agent must acknowledge or end command {row['in_flight']}; its deadline ends the wait.",
            ),
        ),
        (
            row["ahead"],
            Why(
                reason="behind",
                sentence=f"Command {row['first']} goes before it{_and_more(row['ahead'] - 1)}.",
                unblock=f"Ask for the reason of command {row['first']}, or cancel it.",
            ),
        ),
        (row["leased"], Why(reason="being-delivered", sentence="It is being delivered right now.")),
    ]
    due = Why(reason="due", sentence="It is due; the next delivery or sweep sends it.")
    return next((why for holds, why in reasons if holds), due)


def of_agent(agent: str, row: dict[str, Any]) -> list[tuple[object, Why]]:
    """Return what can stop every delivery to an agent that is approved, and whether it does."""
    return [
        (
            row["known"] and row["connection_id"] is None,
            Why(reason="agent-away", sentence=_offline(agent, row), unblock=_START),
        ),
        (
            row["mute"],
            Why(
                reason="agent-mute",
                sentence=(
                    f"{agent} is connected and has said nothing since it was sent a command; restart the agent's process."
                ),
                unblock="Restart the agent's process.",
            ),
        ),
        (
            row["refusals"],
            Why(
                reason="refused",
                sentence=(
                    f"The gateway has refused the last {row['refusals']} posts to the agent since "
                    f"{_at(row['refused_since'])}; "
                    f"no attempt was used, and the next try is {_at(row['throttled_until'])}."
                ),
                unblock="The service tries again by itself; if it goes on, let the agent reconnect and look at the gateway.",
            ),
        ),
        (
            row["throttled"],
            Why(
                reason="throttled",
                sentence=f"The last post to the agent did not succeed; the next try is {_at(row['throttled_until'])}.",
            ),
        ),
    ]


_START = "Start the agent or repair its connection; what waits is delivered as soon as it connects."


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
