"""What a delivered command writes at least: the dispatcher's own rows, written with plain SQL and no rule.

Nobody is connected, nothing is checked, and no process waits for another: one connection claims a window, completes it in the
next transaction, and so on.  So a dispatcher that keeps these rows cannot be faster on this machine, but by a second core.
"""

import time
from collections.abc import Sequence

import psycopg

from bench.figures import BenchError
from bench.product import Agent, Product

NAME = "the same rows, plain SQL"
_CLAIM = """
with next as (
    select c.command_id
    from agent_commands c
    where c.agent_id = %(agent_id)s
      and c.status = 'pending'
    order by c.priority desc, c.seq
    limit %(window)s
    for no key update
), claimed as (
    update agent_commands c
    set status = 'sent',
        moves = c.moves + 1,
        recorded = c.moves + 1,
        attempt = c.attempt + 1,
        epoch = 1,
        sent_at = clock_timestamp(),
        ack_deadline = clock_timestamp() + interval '20 seconds',
        cause = 'claimed'
    from next
    where c.command_id = next.command_id
    returning c.command_id, c.action, c.payload, c.attempt, c.epoch, c.cause
), recorded as (
    insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, position)
    select c.command_id, 'pending', 'sent', c.attempt, c.epoch, c.cause, feed_position(pg_current_xact_id())
    from claimed c
)
select c.command_id, c.action, c.payload::text from claimed c
"""
_ACKNOWLEDGE = """
with acknowledged as (
    update agent_commands c
    set status = 'acknowledged',
        moves = c.moves + 1,
        recorded = c.moves + 1,
        acknowledged_at = clock_timestamp(),
        ack_deadline = null,
        execution_deadline = clock_timestamp() + interval '600 seconds',
        cause = 'acknowledged'
    where c.command_id = any(%(ids)s)
    returning c.command_id, c.attempt, c.epoch, c.cause
)
insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, position)
select a.command_id, 'sent', 'acknowledged', a.attempt, a.epoch, a.cause, feed_position(pg_current_xact_id())
from acknowledged a
"""
_COMPLETE = """
with completed as (
    update agent_commands c
    set status = 'completed',
        moves = c.moves + 1,
        recorded = c.moves + 1,
        moved_from = c.status,
        acknowledged_at = coalesce(c.acknowledged_at, clock_timestamp()),
        completed_at = clock_timestamp(),
        ack_deadline = null,
        execution_deadline = null,
        cause = 'completed'
    where c.command_id = any(%(ids)s)
    returning c.command_id, c.moved_from, c.attempt, c.epoch, c.cause
)
insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, position)
select c.command_id, moved.from_status, moved.to_status, c.attempt, c.epoch, c.cause, feed_position(pg_current_xact_id())
from completed c
cross join (values ('sent', 'acknowledged'), ('acknowledged', 'completed')) as moved (from_status, to_status)
where moved.from_status = 'acknowledged' or c.moved_from = 'sent'
"""
_HISTORY = """
select count(*)
from command_history h
join agent_commands c using (command_id)
where c.agent_id = any(%s)
"""
TRANSITIONS = 4
"""Of a delivered command: accepted, sent, acknowledged, completed."""


def drain(product: Product, agents: Sequence[Agent], each: int, *, window: int, acks_alone: bool) -> float:
    """Move the commands of agents that are offline to their end; return commands a second.

    A window is completed, and the next one claimed, in one transaction; `acks_alone`: it is acknowledged in that transaction,
    and completed in one more.  Raises BenchError if other rows were written than those of a delivery.
    """
    product.queue(agents, each)
    ids = [agent.agent_id for agent in agents]
    with product.database() as conn:
        conn.prepare_threshold = 0
        conn.execute("set plan_cache_mode = force_generic_plan")  # planning would take longer than writing one row
        began = time.perf_counter()
        for agent_id in ids:
            _drain_one(conn, agent_id, window, acks_alone=acks_alone)
        seconds = time.perf_counter() - began
        product.expect_completed(conn, agents, len(agents) * each)
        written = conn.execute(_HISTORY, (ids,)).fetchone()
    if written != (TRANSITIONS * len(agents) * each,):
        raise BenchError(f"{written} rows of history were written for {len(agents) * each} commands")
    return len(agents) * each / seconds


def _drain_one(conn: psycopg.Connection, agent_id: str, window: int, *, acks_alone: bool) -> None:
    held: list[str] = []
    while True:
        with conn.pipeline(), conn.transaction():  # one round trip
            if held:
                conn.execute(_ACKNOWLEDGE if acks_alone else _COMPLETE, {"ids": held})
            claimed = conn.execute(_CLAIM, {"agent_id": agent_id, "window": window})
        if held and acks_alone:
            conn.execute(_COMPLETE, {"ids": held})
        held = [command_id for command_id, _, _ in claimed.fetchall()]
        if not held:
            return
