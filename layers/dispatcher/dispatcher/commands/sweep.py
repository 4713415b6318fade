"""The sweep: what the clocks demand, and whatever everyone else has missed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import psycopg

from dispatcher.commands.delivery import POST_SECONDS, SETTLE_SECONDS, Deadline, Delivered, deliver
from dispatcher.commands.flush import HandedOver, hand_over
from dispatcher.platform import settings
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Gateway
from dispatcher.platform.observability import logger
from dispatcher.store import clocks, connections, delivery, operators

T = TypeVar("T")

BATCH = 1000
"""Rows that one statement of a pass moves at most."""
ABSENT_SECONDS = 660
"""Silence after which a connection is forgotten: the gateway's idle cut of 10 minutes, and a minute."""
INLINE = 50
"""Agents that one sweep delivers to itself, where more have something due; the rest is handed over to flush."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep did."""

    expired: int = 0
    released: int = 0
    timed_out: int = 0
    absent: int = 0
    loaded: int = 0
    sent: int = 0
    handed_over: int = 0
    pruned: int = 0
    failed_passes: int = 0


def sweep(
    conn: Connection, gateway: Gateway, *, deadline: Deadline, share_out: Callable[[HandedOver], None] = hand_over
) -> Swept:
    """Run every pass, bounded and each for itself: one that fails is reported, and the others go on."""
    passes = _Passes(deadline)
    expired = passes.run("expire", lambda: _all(lambda: clocks.expire(conn, BATCH), deadline), 0)
    released = passes.run("release", lambda: _all(lambda: clocks.release_unacknowledged(conn, BATCH), deadline), 0)
    timed_out = passes.run("time out", lambda: _all(lambda: clocks.time_out(conn, BATCH), deadline), 0)
    absent = passes.run("forget the absent", lambda: _forget_absent(conn, gateway), 0)
    none: Sequence[delivery.DueAgent] = ()
    due = passes.run("find what is due", lambda: delivery.due_agents(conn, BATCH), none)
    # More than one run can deliver is shared out; each flush takes one agent's lease.
    for agent in due[INLINE:]:
        if deadline() > POST_SECONDS:
            share_out(HandedOver(agent_id=agent.agent_id, connection_id=agent.connection_id, epoch=agent.epoch))
    delivered = [
        passes.run("deliver", partial(deliver, conn, gateway, agent.agent_id, deadline), Delivered())
        for agent in due[:INLINE]
    ]
    loaded = sum(each.claimed for each in delivered)
    sent = sum(each.sent for each in delivered)
    handed_over = len(due[INLINE:])
    logger.info(
        f"Loaded {loaded} pending commands", extra={"agents": len(due), "sent": sent, "handed_over": handed_over}
    )
    days = settings.retention_days()
    pruned = passes.run("prune", lambda: _all(lambda: clocks.prune(conn, days, BATCH), deadline), 0)
    passes.run("prune log-ins", lambda: _all(lambda: operators.prune_failures(conn, BATCH), deadline), 0)
    return Swept(
        expired=expired,
        released=released,
        timed_out=timed_out,
        absent=absent,
        loaded=loaded,
        sent=sent,
        handed_over=handed_over,
        pruned=pruned,
        failed_passes=passes.failed,
    )


class _Passes:
    """Runs passes so that none stops another."""

    def __init__(self, deadline: Deadline) -> None:
        self.failed = 0
        self._deadline = deadline

    def run(self, name: str, work: Callable[[], T], otherwise: T) -> T:
        """Run one pass; where it fails, or no time is left, the answer is `otherwise`."""
        if self._deadline() < SETTLE_SECONDS:
            return otherwise
        try:
            return work()
        except psycopg.Error as error:
            self.failed += 1
            logger.exception("Sweep pass failed", extra={"sweep_pass": name, "reason": type(error).__name__})
            return otherwise


def _all(batch: Callable[[], int], deadline: Deadline) -> int:
    """Repeat a batch while it comes back full and time is left."""
    total = 0
    while deadline() > SETTLE_SECONDS:
        moved = batch()
        total += moved
        if moved < BATCH:
            break
    return total


def _forget_absent(conn: Connection, gateway: Gateway) -> int:
    gone = connections.forget_absent(conn, ABSENT_SECONDS, BATCH)
    for agent_id, connection_id in gone:
        gateway.close(connection_id)
        logger.warning("Agent absent", extra={"agent_id": agent_id, "connection_id": connection_id})
    return len(gone)
