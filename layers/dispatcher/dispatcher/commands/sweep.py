"""The sweep, each minute: periodic maintenance, and retries of anything missed."""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import psycopg

from dispatcher.access import login_budgets
from dispatcher.agents import presence
from dispatcher.commands import claims, deadlines, loss_check, overview, redelivery
from dispatcher.commands.claims import ALL, DueAgent, Shard
from dispatcher.commands.delivery import POST_SECONDS, RELEASE_SECONDS, Deadline, Delivered, deliver
from dispatcher.commands.flush import FlushRequest, invoke_flush
from dispatcher.events import feed
from dispatcher.platform import lambda_api, settings
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Gateway
from dispatcher.platform.observability import logger

T = TypeVar("T")

BATCH = 1000
"""The most rows that one statement of a pass moves."""
INLINE = 50
"""The most agents that one sweep delivers to itself; for others with due commands it invokes `flush`."""
INLINE_SECONDS = 5.0
"""How long it does so: one connection that does not answer must not make the other agents wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep did.  The names are those of the metrics: never change one."""

    expired: int = 0
    released: int = 0
    """Attempts that were not acknowledged in time."""
    timed_out: int = 0
    absent: int = 0
    """Idle connections that were dropped."""
    silent: int = 0
    """Agents that became offline by their silence, or were heard again."""
    moved: int = 0
    """Old connections that were closed before the gateway cuts them."""
    loaded: int = 0
    """Commands that were claimed."""
    sent: int = 0
    handed_over: int = 0
    """Agents that `flush` was invoked for."""
    pruned: int = 0
    failed_passes: int = 0


def invoke_others(function: str, shards: int) -> None:
    """Invoke the sweeper, asynchronously, for each shard but the first; the next sweep does what fails."""
    for number in range(1, shards):
        reason = lambda_api.invoke_event(function, json.dumps({"shard": number}).encode())
        if reason is not None:
            logger.warning("Shard not swept", extra={"shard": number, "reason": reason})


def sweep(
    conn: Connection,
    gateway: Gateway,
    *,
    deadline: Deadline,
    hand_over: Callable[[FlushRequest], None] = invoke_flush,
    shard: Shard = ALL,
) -> Swept:
    """Run every pass, each bounded and independent: a pass that fails is logged, and the others go on.

    It delivers to the agents of its shard; a sweep of another shard than the first does nothing else.  Two sweeps at the same
    time do no harm.
    """
    passes = _Passes(deadline)
    if shard.number:
        delivery = _deliver_due(conn, gateway, passes, shard, hand_over)
        return replace(delivery, failed_passes=passes.failed)
    expired = passes.run("expire", lambda: _repeat(partial(deadlines.expire, conn), deadline), 0)
    released = passes.run("release", lambda: _repeat(partial(redelivery.return_unacknowledged, conn), deadline), 0)
    timed_out = passes.run("time out", lambda: _repeat(partial(deadlines.time_out, conn), deadline), 0)
    passes.run("cancel for deleted agents", lambda: _repeat(partial(deadlines.end_orphans, conn), deadline), 0)
    has_time = partial(_has_time, deadline)
    dropped = passes.run("drop idle connections", lambda: presence.drop_idle(conn, gateway, BATCH, has_time), 0)
    silent = passes.run("tell silence", lambda: presence.tell_silence(conn, BATCH), 0)
    delivery = _deliver_due(conn, gateway, passes, shard, hand_over)
    days = settings.retention_days()
    pruned = passes.run("prune", lambda: _repeat(partial(deadlines.prune, conn, days), deadline), 0)
    passes.run("prune events", lambda: _repeat(partial(feed.prune, conn, days), deadline), 0)
    passes.run("prune log-ins", lambda: _repeat(partial(login_budgets.prune, conn), deadline), 0)
    passes.run("record figures", lambda: loss_check.record_figures(conn), None)
    passes.run("refresh overviews", lambda: overview.refresh_asked(conn), None)
    moved = passes.run("move old connections", lambda: presence.move_old(conn, gateway, BATCH, has_time), 0)
    return Swept(
        expired=expired,
        released=released,
        timed_out=timed_out,
        absent=dropped,
        silent=silent,
        moved=moved,
        loaded=delivery.loaded,
        sent=delivery.sent,
        handed_over=delivery.handed_over,
        pruned=pruned,
        failed_passes=passes.failed,
    )


def _deliver_due(
    conn: Connection, gateway: Gateway, passes: "_Passes", shard: Shard, hand_over: Callable[[FlushRequest], None]
) -> Swept:
    due = passes.run("find due agents", lambda: claims.due_agents(conn, BATCH, shard), list[DueAgent]())
    delivered: list[Delivered] = []
    left = deque(agent for agent in due if not agent.needs_welcome)
    deadline, has_time = passes.deadline, partial(_has_time, passes.deadline)
    slow_after = deadline() - INLINE_SECONDS
    while left and len(delivered) < INLINE and deadline() > slow_after:
        work = partial(deliver, conn, gateway, left.popleft().agent_id, deadline)
        delivered.append(passes.run("deliver", work, Delivered()))
    handed_over = 0
    for agent in [*(each for each in due if each.needs_welcome), *left]:
        if has_time():
            hand_over(
                FlushRequest(
                    agent_id=agent.agent_id,
                    connection_id=agent.connection_id,
                    epoch=agent.epoch,
                    welcome=agent.needs_welcome,
                )
            )
            handed_over += 1
    loaded = sum(each.claimed for each in delivered)
    sent = sum(each.sent for each in delivered)
    logger.info(
        f"Loaded {loaded} pending commands", extra={"agents": len(due), "sent": sent, "handed_over": handed_over}
    )
    return Swept(loaded=loaded, sent=sent, handed_over=handed_over)


def _has_time(deadline: Deadline) -> bool:
    """Tell whether there is time for one more call of AWS."""
    return deadline() > POST_SECONDS


class _Passes:
    """Runs passes so that a failed one does not stop the others."""

    def __init__(self, deadline: Deadline) -> None:
        self.failed = 0
        self.deadline = deadline

    def run(self, name: str, work: Callable[[], T], otherwise: T) -> T:
        """Run one pass; return `otherwise` if it fails or no time is left."""
        if self.deadline() < RELEASE_SECONDS:
            return otherwise
        try:
            return work()
        except psycopg.Error as error:
            self.failed += 1
            logger.exception("Sweep pass failed", extra={"sweep_pass": name, "reason": type(error).__name__})
            return otherwise


def _repeat(batch: Callable[[int], int], deadline: Deadline) -> int:
    """Repeat a batch while it comes back full and time is left; return how many rows it moved in all."""
    total = 0
    while deadline() > RELEASE_SECONDS:
        moved = batch(BATCH)
        total += moved
        if moved < BATCH:
            break
    return total
