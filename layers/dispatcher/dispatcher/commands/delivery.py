"""Delivery: claim under the agent's lease, send, settle, look once more."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import psycopg

from dispatcher.commands.model import Claim, ClaimedCommand, Command
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import CONNECT_SECONDS, READ_SECONDS, Gateway, Posted
from dispatcher.platform.observability import logger
from dispatcher.protocol import frames
from dispatcher.protocol.frames import FRAME_BYTES, Message
from dispatcher.store import delivery as store
from dispatcher.store.delivery import ACK_SECONDS, LEASE_SECONDS, Settlement

Deadline = Callable[[], float]
"""Seconds that are left to work in."""

POST_SECONDS = CONNECT_SECONDS + READ_SECONDS
SETTLE_SECONDS = 2.0
"""Kept for the settlement after the last post that is begun."""
POSTING_SECONDS = min(LEASE_SECONDS, 0.9 * ACK_SECONDS)
"""How long after the claim was begun its posts may last: until the lease, or the first ack deadline less its jitter, is over.
Later the sweep may have given the commands to another one."""
THROTTLE_SECONDS_MOST = 60.0
EMPTY_CLAIMS = 2
"""Claims of nothing, one after another, with which delivery gives up; the sweep comes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What one call of deliver did."""

    sent: int = 0
    claimed: int = 0


def deliver(conn: Connection, gateway: Gateway, agent_id: str, deadline: Deadline) -> Delivered:
    """Send an agent whatever is due and fits its window, until nothing is left, it cannot be reached, or time is up.

    The lease is released before the last look for work: who found it taken has left its command to this holder.
    """
    sent = claimed = empty = 0
    while deadline() > POST_SECONDS + SETTLE_SECONDS:
        begun = time.monotonic()
        claim = store.claim(conn, agent_id)
        if claim is None:
            break
        claimed += len(claim.commands)
        empty = 0 if claim.commands else empty + 1
        taken, settlement = _send(conn, gateway, claim, begun, deadline)
        sent += taken
        store.settle(conn, claim, settlement)
        _log(claim, taken, settlement)
        if empty == EMPTY_CLAIMS:  # a row that somebody else keeps locked is due, but cannot be claimed
            break
    return Delivered(sent=sent, claimed=claimed)


def deliver_at_once(conn: Connection, gateway: Gateway, commands: Iterable[Command], deadline: Deadline) -> None:
    """Try to deliver what was just committed.  It is accepted already: whatever fails here, the sweep makes good."""
    try:
        for agent_id in dict.fromkeys(command.agent_id for command in commands):
            deliver(conn, gateway, agent_id, deadline)
    except psycopg.Error as error:
        logger.warning("Delivery put off", extra={"reason": type(error).__name__})


def _send(conn: Connection, gateway: Gateway, claim: Claim, begun: float, deadline: Deadline) -> tuple[int, Settlement]:
    """Post one message after another; the first that is not taken ends it, so that none overtakes."""
    unsendable: list[tuple[ClaimedCommand, str]] = []
    end = partial(Settlement, unsendable=unsendable)
    sent = 0
    messages = deque(frames.of(claim))
    while messages:
        message = messages[0]
        first = message.commands[0]
        if hindrance := _hindrance(message, time.monotonic() - begun, deadline):
            return sent, end(unsent=_commands(messages), unsent_cause=f"attempt {first.attempt} {hindrance}")
        if sent + len(unsendable) and not store.is_held(conn, claim):
            # The agent reconnected while another message was posted, and what is in our hands was given back: it may have
            # been cancelled since.
            return sent, end(unsent=_commands(messages), unsent_cause=f"attempt {first.attempt} lost its lease")
        size = len(message.text.encode())
        posted = Posted.TOO_LARGE if size > FRAME_BYTES else gateway.post(claim.connection_id, message.text)
        match posted:
            case Posted.TAKEN:
                sent += len(message.commands)
            case Posted.TOO_LARGE:
                unsendable += [
                    (each, f"the message of {size} bytes does not pass the gateway") for each in message.commands
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
                # This one may have arrived: it waits for its ack.  Those behind it go back, and wait with it.
                messages.popleft()
                cause = f"command {first.command_id} was posted without an answer before it"
                return sent, end(
                    unsent=_commands(messages), unsent_cause=cause, throttle_seconds=backoff(first.attempt)
                )
        messages.popleft()
    return sent, end()


def _hindrance(message: Message, elapsed: float, deadline: Deadline) -> str | None:
    """Tell why a message must not be posted any more, so many seconds after its claim was begun."""
    if min(deadline(), POSTING_SECONDS - elapsed) < POST_SECONDS + SETTLE_SECONDS:
        return "ran out of time"
    if any(each.seconds_left is not None and each.seconds_left <= elapsed for each in message.commands):
        # A time to wait ran out in our hands: back to the queue, where the sweep ends it.
        return "came too late"
    return None


def _commands(messages: Iterable[Message]) -> list[ClaimedCommand]:
    return [command for message in messages for command in message.commands]


def backoff(attempt: int) -> float:
    """Return the seconds until the next attempt: doubled each time from 1 to 60, of which a random half is left out."""
    most = min(THROTTLE_SECONDS_MOST, 2.0 ** min(attempt - 1, 16))
    return random.uniform(most / 2, most)  # noqa: S311 - spreads load, guards nothing


def _log(claim: Claim, taken: int, settlement: Settlement) -> None:
    fields = {"agent_id": claim.agent_id, "epoch": claim.epoch, "claimed": len(claim.commands), "sent": taken}
    if settlement.unsent or settlement.unsendable:
        reasons = [settlement.unsent_cause, *(reason for _, reason in settlement.unsendable)]
        logger.warning("Delivery incomplete", extra={**fields, "reason": "; ".join(filter(None, reasons))})
    elif claim.commands:
        logger.info("Delivered commands", extra={**fields, "command_ids": [c.command_id for c in claim.commands]})
