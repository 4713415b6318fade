"""Delivery: claim, post, release, look once more."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import psycopg

from dispatcher.commands import claims
from dispatcher.commands.claims import FIRST_ACK_SECONDS, LEASE_SECONDS, Claim, Outcome
from dispatcher.platform import correlation, database
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import CONNECT_SECONDS, READ_SECONDS, Gateway, Posted
from dispatcher.platform.observability import is_debugging, logger
from dispatcher.protocol.frames import MESSAGE_BYTES, ClaimedCommand, Message, bytes_of, messages_of, stop_message

Deadline = Callable[[], float]
"""Returns the seconds that are left to work in."""

POST_SECONDS = CONNECT_SECONDS + READ_SECONDS
RELEASE_SECONDS = 2.0
"""Kept for the release after the last post."""
POSTING_SECONDS = min(LEASE_SECONDS, FIRST_ACK_SECONDS)
"""How long a claim may post: after that its lease has ended, or the sweep may have returned the commands to the queue."""

_CAUSES = {
    Posted.GONE: "found the connection gone",
    Posted.REFUSED: "was refused by the gateway",
    Posted.TOO_LARGE: "was refused by the gateway",
    Posted.UNKNOWN: "got no answer",
}
"""Why a post was not taken, as the history tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """How many commands one call of `deliver` claimed and sent."""

    sent: int = 0
    claimed: int = 0
    confirmed: bool = False
    """Whether the agent was told with the commands what is received."""


def deliver(
    conn: Connection, gateway: Gateway, agent_id: str, deadline: Deadline, *, claim: Claim | None = None
) -> Delivered:
    """Send an agent due commands that fit its window, until none is left, it cannot be reached, or time is up.

    `claim` is what was claimed already.  The lease is released before the last look for work: a worker that finds the lease
    held relies on its holder.
    """
    sent = claimed = 0
    confirmed = False
    if claim is None and _has_time(deadline):
        claim = claims.claim(conn, agent_id)
    while claim is not None:
        taken, outcome = _send(conn, gateway, claim, deadline)
        confirmed |= outcome.confirmed
        claimed += len(claim.commands)
        sent += taken
        _log(claim, taken, outcome)
        claim = _release(conn, claim, outcome, look_again=outcome.posted is Posted.TAKEN and _has_time(deadline))
    return Delivered(sent=sent, claimed=claimed, confirmed=confirmed)


def deliver_at_once(
    conn: Connection, gateway: Gateway, agent_id: str, deadline: Deadline, *, claim: Claim | None = None
) -> None:
    """Try to deliver what was just committed.  It is accepted: the sweep retries what fails here."""
    try:
        deliver(conn, gateway, agent_id, deadline, claim=claim)
    except psycopg.Error as error:
        logger.warning("Delivery postponed", extra={"agent_id": agent_id, "reason": type(error).__name__})


def _has_time(deadline: Deadline) -> bool:
    return deadline() > POST_SECONDS + RELEASE_SECONDS


def _release(conn: Connection, claim: Claim, outcome: Outcome, *, look_again: bool) -> Claim | None:
    if not claims.needs_release(claim, outcome):
        return None
    try:
        return claims.release(conn, claim, outcome, look_again=look_again)
    except psycopg.OperationalError as error:
        if not (conn.broken or isinstance(error, psycopg.errors.DeadlockDetected)):
            raise
        # Only this claim's lease and attempts are touched, so it is safe to do it again on a fresh connection.
        logger.warning("Release repeated", extra={"agent_id": claim.agent_id, "reason": type(error).__name__})
        return database.persistently(lambda fresh: claims.release(fresh, claim, outcome, look_again=False))


def _send(conn: Connection, gateway: Gateway, claim: Claim, deadline: Deadline) -> tuple[int, Outcome]:
    """Post the requests to stop commands, then the commands; return how many of these the gateway took."""
    told: list[str] = []
    for command_id, attempt in claim.stops:
        if _is_late(claim, deadline):
            return 0, Outcome(told=told, unsent=claim.commands, unsent_cause="ran out of time")
        posted = gateway.post(claim.connection_id, stop_message(command_id, attempt))
        if posted is not Posted.TAKEN:
            # The whole queue waits, as after any post, or this request would be repeated at once.
            cause = f"a request to stop another command {_CAUSES[posted]}"
            return 0, Outcome(posted=posted, told=told, unsent=claim.commands, unsent_cause=cause)
        told.append(command_id)
    return _send_commands(conn, gateway, claim, deadline, told)


def _send_commands(
    conn: Connection, gateway: Gateway, claim: Claim, deadline: Deadline, told: Sequence[str]
) -> tuple[int, Outcome]:
    """Post one message after another; stop at the first that is not taken, so that no command overtakes another."""
    taken: list[ClaimedCommand] = []
    unsendable: list[tuple[ClaimedCommand, str]] = []
    done = Outcome(taken=taken, unsendable=unsendable, told=told)
    messages = deque(messages_of(claim.mode, claim.commands, claim.received))
    posted_before = bool(claim.stops)
    while messages:
        message = messages[0]
        first = message.commands[0]
        cause = f"attempt {first.attempt} "
        if obstacle := _obstacle(claim, message, deadline):
            return len(taken), done._replace(unsent=_commands(messages), unsent_cause=cause + obstacle)
        if posted_before and not claims.is_held(conn, claim):
            # The agent reconnected while an earlier message was posted.  The other commands were returned to the queue and
            # may have been cancelled since.
            return len(taken), done._replace(unsent=_commands(messages), unsent_cause=cause + "lost its lease")
        posted_before = True
        size = bytes_of(message.text)
        posted = Posted.TOO_LARGE if size > MESSAGE_BYTES else gateway.post(claim.connection_id, message.text)
        match posted:
            case Posted.TAKEN:
                taken += message.commands
                if message.confirms:
                    done = done._replace(confirmed=True)
            case Posted.TOO_LARGE:
                reason = f"the message of {size} bytes is too large for the gateway"
                unsendable += [(each, reason) for each in message.commands]
            case Posted.GONE | Posted.REFUSED:
                cause += _CAUSES[posted]
                return len(taken), done._replace(posted=posted, unsent=_commands(messages), unsent_cause=cause)
            case Posted.UNKNOWN:
                # This message may have arrived: its commands wait for their acks.  The others return to the queue and wait too.
                messages.popleft()
                cause = f"command {first.command_id} was posted without an answer before it"
                known = len(taken)
                taken += message.commands
                return known, done._replace(posted=posted, unsent=_commands(messages), unsent_cause=cause)
        messages.popleft()
    return len(taken), done


def _is_late(claim: Claim, deadline: Deadline) -> bool:
    """Tell whether no time is left for one more post of this claim."""
    elapsed = time.monotonic() - claim.begun
    return min(deadline(), POSTING_SECONDS - elapsed) < POST_SECONDS + RELEASE_SECONDS


def _obstacle(claim: Claim, message: Message, deadline: Deadline) -> str | None:
    """Return why a message must not be posted now; None: it may be posted."""
    if _is_late(claim, deadline):
        return "ran out of time"
    elapsed = time.monotonic() - claim.begun
    if any(each.seconds_left is not None and each.seconds_left <= elapsed for each in message.commands):
        # Its deliver_by has passed since the claim: back to the queue, where the sweep expires it.
        return "came too late"
    return None


def _commands(messages: Iterable[Message]) -> list[ClaimedCommand]:
    return [command for message in messages for command in message.commands]


def _log(claim: Claim, taken: int, outcome: Outcome) -> None:
    is_incomplete = bool(outcome.unsent or outcome.unsendable)
    if not (is_incomplete or is_debugging()):
        return
    fields = {"agent_id": claim.agent_id, "epoch": claim.epoch, "claimed": len(claim.commands), "sent": taken}
    fields |= correlation.of_commands(each.correlation_id for each in claim.commands)
    if is_incomplete:
        reasons = [outcome.unsent_cause, *(reason for _, reason in outcome.unsendable)]
        logger.warning("Delivery incomplete", extra={**fields, "reason": "; ".join(filter(None, reasons))})
    elif claim.commands:
        logger.debug("Delivered commands", extra={**fields, "command_ids": [c.command_id for c in claim.commands]})
