"""Delivery: claim under the agent's lease, post, release, look once more."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import psycopg

from dispatcher.commands import claims
from dispatcher.commands.claims import ACK_SECONDS, LEASE_SECONDS, Claim, Outcome
from dispatcher.commands.command_records import Command
from dispatcher.commands.submission import AcceptedEntry
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import CONNECT_SECONDS, READ_SECONDS, Gateway, Posted
from dispatcher.platform.observability import logger
from dispatcher.protocol.frames import MESSAGE_BYTES, ClaimedCommand, Message, messages_of

Deadline = Callable[[], float]
"""Returns the seconds that are left to work in."""

POST_SECONDS = CONNECT_SECONDS + READ_SECONDS
RELEASE_SECONDS = 2.0
"""Kept for the release after the last post."""
POSTING_SECONDS = min(LEASE_SECONDS, 0.9 * ACK_SECONDS)
"""How long a claim may post: after that its lease has ended, or the first ack deadline (less its jitter) has passed and the
sweep may have returned the commands to the queue."""
THROTTLE_SECONDS_MOST = 60.0
EMPTY_CLAIMS = 2
"""Empty claims in a row after which delivery stops; the sweep tries again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """How many commands one call of `deliver` claimed and sent."""

    sent: int = 0
    claimed: int = 0


def deliver(conn: Connection, gateway: Gateway, agent_id: str, deadline: Deadline) -> Delivered:
    """Send an agent due commands that fit its window, until none is left, it cannot be reached, or time is up.

    The lease is released before the last look for work: a worker that finds the lease held relies on its holder.
    """
    sent = claimed = empty = 0
    while deadline() > POST_SECONDS + RELEASE_SECONDS:
        begun = time.monotonic()
        claim = claims.claim(conn, agent_id)
        if claim is None:
            break
        claimed += len(claim.commands)
        empty = 0 if claim.commands else empty + 1
        taken, outcome = _send(conn, gateway, claim, begun, deadline)
        sent += taken
        claims.release(conn, claim, outcome)
        _log(claim, taken, outcome)
        if empty == EMPTY_CLAIMS:  # a due row that another transaction has locked cannot be claimed
            break
    return Delivered(sent=sent, claimed=claimed)


def deliver_at_once(
    conn: Connection, gateway: Gateway, commands: Iterable[Command | AcceptedEntry], deadline: Deadline
) -> None:
    """Try to deliver commands that were just committed.  They are accepted: the sweep retries what fails here."""
    try:
        for agent_id in dict.fromkeys(command.agent_id for command in commands):
            deliver(conn, gateway, agent_id, deadline)
    except psycopg.Error as error:
        logger.warning("Delivery postponed", extra={"reason": type(error).__name__})


def _send(conn: Connection, gateway: Gateway, claim: Claim, begun: float, deadline: Deadline) -> tuple[int, Outcome]:
    """Post one message after another; stop at the first that is not taken, so that no command overtakes another."""
    unsendable: list[tuple[ClaimedCommand, str]] = []
    end = partial(Outcome, unsendable=unsendable)
    sent = 0
    messages = deque(messages_of(claim.mode, claim.commands))
    while messages:
        message = messages[0]
        first = message.commands[0]
        if obstacle := _obstacle(message, time.monotonic() - begun, deadline):
            return sent, end(unsent=_commands(messages), unsent_cause=f"attempt {first.attempt} {obstacle}")
        if sent + len(unsendable) and not claims.is_held(conn, claim):
            # The agent reconnected while an earlier message was posted.  The other commands were returned to the queue and
            # may have been cancelled since.
            return sent, end(unsent=_commands(messages), unsent_cause=f"attempt {first.attempt} lost its lease")
        size = len(message.text.encode())
        posted = Posted.TOO_LARGE if size > MESSAGE_BYTES else gateway.post(claim.connection_id, message.text)
        match posted:
            case Posted.TAKEN:
                sent += len(message.commands)
            case Posted.TOO_LARGE:
                unsendable += [
                    (each, f"the message of {size} bytes is too large for the gateway") for each in message.commands
                ]
            case Posted.GONE:
                cause = f"attempt {first.attempt} found the connection gone"
                return sent, end(unsent=_commands(messages), unsent_cause=cause, gone=True)
            case Posted.REFUSED:
                cause = f"attempt {first.attempt} was refused by the gateway"
                return sent, end(
                    unsent=_commands(messages), unsent_cause=cause, throttle_seconds=backoff(first.attempt)
                )
            case Posted.UNKNOWN:
                # This message may have arrived: its commands wait for their acks.  The others return to the queue and wait too.
                messages.popleft()
                cause = f"command {first.command_id} was posted without an answer before it"
                return sent, end(
                    unsent=_commands(messages), unsent_cause=cause, throttle_seconds=backoff(first.attempt)
                )
        messages.popleft()
    return sent, end()


def _obstacle(message: Message, elapsed: float, deadline: Deadline) -> str | None:
    """Return why a message must not be posted at this age of its claim in seconds; None: it may be posted."""
    if min(deadline(), POSTING_SECONDS - elapsed) < POST_SECONDS + RELEASE_SECONDS:
        return "ran out of time"
    if any(each.seconds_left is not None and each.seconds_left <= elapsed for each in message.commands):
        # Its deliver_by has passed since the claim: back to the queue, where the sweep expires it.
        return "came too late"
    return None


def _commands(messages: Iterable[Message]) -> list[ClaimedCommand]:
    return [command for message in messages for command in message.commands]


def backoff(attempt: int) -> float:
    """Return the seconds until the next attempt: between half and all of 1 s, doubled each time, up to 60 s."""
    most = min(THROTTLE_SECONDS_MOST, 2.0 ** min(attempt - 1, 16))
    return random.uniform(most / 2, most)  # noqa: S311 - spreads load, guards nothing


def _log(claim: Claim, taken: int, outcome: Outcome) -> None:
    fields = {"agent_id": claim.agent_id, "epoch": claim.epoch, "claimed": len(claim.commands), "sent": taken}
    if outcome.unsent or outcome.unsendable:
        reasons = [outcome.unsent_cause, *(reason for _, reason in outcome.unsendable)]
        logger.warning("Delivery incomplete", extra={**fields, "reason": "; ".join(filter(None, reasons))})
    elif claim.commands:
        logger.info("Delivered commands", extra={**fields, "command_ids": [c.command_id for c in claim.commands]})
