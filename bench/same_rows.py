"""What PostgreSQL takes for a delivered command: the dispatcher's own rows, written in a procedure that checks nothing.

Nobody is connected, and no message is sent.  One connection claims a window, completes it with the next claim, and commits each
time.  The dispatcher writes a little more (the agent's row, results, longer texts).  It may be faster where several of its
processes commit together and use more than one core.
"""

import time
from collections.abc import Sequence

from bench.figures import BenchError
from bench.product import Agent, Product

NAME = "same rows, a procedure"
_PROCEDURE = """
create procedure pg_temp.drain(agent_ids text[], delivery_window integer, acks_alone boolean) language plpgsql as $$
declare
    each text;
    held text[];
    claimed text[];
begin
    foreach each in array agent_ids loop
        held := null;
        loop
            if held is not null and acks_alone then
                with acknowledged as (
                    update agent_commands c
                    set status = 'acknowledged',
                        moves = c.moves + 1,
                        recorded = c.moves + 1,
                        acknowledged_at = clock_timestamp(),
                        ack_deadline = null,
                        execution_deadline = clock_timestamp() + interval '600 seconds',
                        cause = 'acknowledged'
                    where c.command_id = any(held)
                    returning c.command_id, c.attempt, c.epoch, c.cause
                )
                insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, position)
                select a.command_id, 'sent', 'acknowledged', a.attempt, a.epoch, a.cause, feed_position(pg_current_xact_id())
                from acknowledged a;
            elsif held is not null then
                with completed as (
                    update agent_commands c
                    set status = 'completed',
                        moves = c.moves + 1,
                        recorded = c.moves + 1,
                        acknowledged_at = clock_timestamp(),
                        completed_at = clock_timestamp(),
                        ack_deadline = null,
                        cause = 'completed'
                    where c.command_id = any(held)
                    returning c.command_id, c.attempt, c.epoch, c.cause
                )
                insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, position)
                select c.command_id, m.from_status, m.to_status, c.attempt, c.epoch, c.cause,
                    feed_position(pg_current_xact_id())
                from completed c
                cross join (values ('sent', 'acknowledged'), ('acknowledged', 'completed')) as m (from_status, to_status);
            end if;
            with next as (
                select c.command_id
                from agent_commands c
                where c.agent_id = each
                  and c.status = 'pending'
                order by c.priority desc, c.seq
                limit delivery_window
                for no key update
            ), moved as (
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
                returning c.command_id, c.attempt, c.epoch, c.cause
            ), recorded as (
                insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, position)
                select m.command_id, 'pending', 'sent', m.attempt, m.epoch, m.cause, feed_position(pg_current_xact_id())
                from moved m
            )
            select array_agg(m.command_id) into claimed from moved m;
            commit;
            if held is not null and acks_alone then
                with completed as (
                    update agent_commands c
                    set status = 'completed',
                        moves = c.moves + 1,
                        recorded = c.moves + 1,
                        completed_at = clock_timestamp(),
                        execution_deadline = null,
                        cause = 'completed'
                    where c.command_id = any(held)
                    returning c.command_id, c.attempt, c.epoch, c.cause
                )
                insert into command_history (command_id, from_status, to_status, attempt, epoch, cause, position)
                select c.command_id, 'acknowledged', 'completed', c.attempt, c.epoch, c.cause,
                    feed_position(pg_current_xact_id())
                from completed c;
                commit;
            end if;
            held := claimed;
            exit when held is null;
        end loop;
    end loop;
end $$
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
    """Move the waiting commands of agents that are offline to their end, `each` of an agent; return commands a second.

    `acks_alone`: acknowledged with the next claim, and completed in a transaction of its own, as in the first protocol.  Raises
    BenchError if other rows were written than those of a delivery.
    """
    ids = [agent.agent_id for agent in agents]
    with product.database() as conn:
        conn.execute("set plan_cache_mode = force_generic_plan")  # planning would take longer than writing one row
        conn.execute(_PROCEDURE)
        began = time.perf_counter()
        conn.execute("call pg_temp.drain(%s, %s, %s)", (ids, window, acks_alone))
        seconds = time.perf_counter() - began
        product.expect_completed(conn, agents, len(agents) * each)
        written = conn.execute(_HISTORY, (ids,)).fetchone()
    if written != (TRANSITIONS * len(agents) * each,):
        raise BenchError(f"{written} rows of history were written for {len(agents) * each} commands")
    return len(agents) * each / seconds
