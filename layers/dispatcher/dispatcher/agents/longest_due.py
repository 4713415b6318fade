"""Agents by how long their oldest due command waits: whoever is stuck comes first, in a fleet of any size.

Of few agents, and of those that are connected, each one's queue is looked into.  Otherwise the pending commands are walked in
the order of their acceptance, which an index has; a page looks at a bounded number of them and says where the next one begins.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dispatcher.access.scopes import Scope
from dispatcher.agents import agent_lists, labels
from dispatcher.agents.agent_lists import AgentFilter
from dispatcher.agents.registry import COUNTED, Agent
from dispatcher.platform.database import Connection

COMMANDS = 10_000
"""The most pending commands that one page looks at."""
CONNECTED = 20_000
"""The most connected agents of which those with the wanted presence are looked for."""
QUEUES = 2_000
"""The most agents whose queues are looked into, COUNTED commands of each."""
_FIRST_LOOK = 500
"""So many commands usually fill a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in the order: the acceptance of a command, and its number among those of the same moment."""

    at: datetime
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Agents with the place of each one's oldest due command, the oldest first, and where the next ones begin."""

    agents: list[Agent]
    places: dict[str, Place]
    next: Place | None


def list_page(
    conn: Connection,
    *,
    scope: Scope,
    wanted: AgentFilter,
    after: Place | None = None,
    limit: int,
    commands: int = COMMANDS,
    connected: int = CONNECTED,
) -> Found:
    """Read a page of agents that have a due command, whose oldest one was accepted after a place.

    Of a queue's first COUNTED commands the oldest due one counts, where each agent's queue is looked into.
    """
    if wanted.backlog is False:
        return Found(agents=[], places={}, next=None)
    parameters = agent_lists.parameters_of(scope, wanted)
    few = labels.find_few(conn, scope, wanted.selector, parameters, agent_lists.FEW)
    parameters |= {
        "at": after.at if after else "-infinity",
        "seq": after.seq if after else 0,
        "limit": limit,
        "with_labels": few,
    }
    conditions = agent_lists.conditions_of(scope, wanted)
    if few is not None:
        found, end = _of_each(conn, _BY_LABELS, parameters, conditions), None
    elif wanted.presence in {"online", "degraded"} and _are_few(conn, wanted, connected):
        found, end = _of_each(conn, _CONNECTED, parameters, conditions), None
    else:
        if after:
            conditions = f"{conditions} and {_IS_NEW}"
        found, end = _walk(conn, parameters, conditions, min(_FIRST_LOOK, commands))
        if len(found) <= limit and end is not None and commands > _FIRST_LOOK:
            found, end = _walk(conn, parameters, conditions, commands)
    if len(found) > limit:
        found, end = found[:limit], found[limit - 1][1]
    places = dict(found)
    by_id = {agent.agent_id: agent for agent in agent_lists.read_agents(conn, list(places))}
    return Found(
        agents=[by_id[agent_id] for agent_id in places if agent_id in by_id],
        places=places,
        next=end,
    )


_BY_LABELS = "a.agent_id = any(%(with_labels)s::text[])"
_CONNECTED = "a.connection_id is not null"
_IS_DUE = "({0}.not_before is null or {0}.not_before <= now())"
# Otherwise it was on a page before.
_IS_NEW = f"""not exists (
    select
    from agent_commands q
    where q.agent_id = a.agent_id
      and q.status = 'pending'
      and (q.created_at, q.seq) <= (%(at)s::timestamptz, %(seq)s::bigint)
      and {_IS_DUE.format("q")})"""


def _are_few(conn: Connection, wanted: AgentFilter, connected: int) -> bool:
    """Tell whether few agents are connected, and few of those have the wanted presence."""
    row = conn.execute(
        f"""
        select count(*), count(*) filter (where {agent_lists.conditions_of(None, AgentFilter(presence=wanted.presence))})
        from (select * from agents where connection_id is not null limit %(connected)s + 1) as a
        """.encode(),
        {"connected": connected},
    ).fetchone()
    return row is not None and row[0] <= connected and row[1] <= QUEUES


def _of_each(conn: Connection, source: str, parameters: dict[str, Any], conditions: str) -> list[tuple[str, Place]]:
    """Look into the queue of each agent of a source."""
    rows = conn.execute(
        f"""
        select a.agent_id, oldest.created_at, oldest.seq
        from agents a
        cross join lateral (
            select w.created_at, w.seq
            from (
                select q.created_at, q.seq, q.not_before
                from agent_commands q
                where q.agent_id = a.agent_id
                  and q.status = 'pending'
                order by q.priority desc, q.seq
                limit {COUNTED}) as w
            where {_IS_DUE.format("w")}
            order by w.created_at, w.seq
            limit 1) as oldest
        where {source}
          and {conditions}
          and (oldest.created_at, oldest.seq) > (%(at)s::timestamptz, %(seq)s::bigint)
        order by oldest.created_at, oldest.seq
        limit %(limit)s + 1
        """.encode(),
        parameters,
    ).fetchall()
    return [(agent_id, Place(at=at, seq=seq)) for agent_id, at, seq in rows]


def _walk(
    conn: Connection, parameters: dict[str, Any], conditions: str, commands: int
) -> tuple[list[tuple[str, Place]], Place | None]:
    """Walk the pending commands; return agents, and where the walk was left if that was before its end."""
    rows = conn.execute(
        f"""
        with walked as materialized (
            -- The status as the index of lists has it.
            select c.agent_id, c.created_at, c.seq, {_IS_DUE.format("c")} as is_due
            from agent_commands c
            where lower(c.status) = 'pending'
              and (c.created_at, c.seq) > (%(at)s::timestamptz, %(seq)s::bigint)
            order by c.created_at, c.seq
            limit %(commands)s
        ), oldest as materialized (
            select distinct on (agent_id) agent_id, created_at, seq
            from walked
            where is_due
            order by agent_id, created_at, seq
        ), found as (
            select a.agent_id, o.created_at, o.seq
            from oldest o
            cross join lateral (select * from agents k where k.agent_id = o.agent_id offset 0) as a
            where {conditions}
            order by o.created_at, o.seq
            limit %(limit)s + 1
        )
        select agent_id, created_at, seq
        from (
            select agent_id, created_at, seq from found
            union all
            select null, l.created_at, l.seq
            from (select * from walked order by created_at, seq offset %(commands)s - 1) as l) as rows
        order by agent_id is null, created_at, seq
        """.encode(),
        parameters | {"commands": commands},
    ).fetchall()
    places = [(agent_id, Place(at=at, seq=seq)) for agent_id, at, seq in rows]
    return (
        [(agent_id, place) for agent_id, place in places if agent_id is not None],
        next((place for agent_id, place in places if agent_id is None), None),
    )
