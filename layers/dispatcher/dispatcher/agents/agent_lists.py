"""Which agents a filter means, ordered by id, found by an index and within a bounded number of rows.

The index that fits the filter best is read in the order of ids.  If that would take too many rows, the page ends early and says
where the next one begins, as for commands (`commands/command_lists.py`).
"""

from dataclasses import dataclass
from typing import Any

from dispatcher.access.scopes import Scope, as_parameter
from dispatcher.agents import labels
from dispatcher.agents.registry import COLUMNS, WAITING, WAITING_COLUMNS, Agent, Presence, presence_sql
from dispatcher.agents.selectors import Selector
from dispatcher.platform.database import Connection, fetch_all

ROWS = 10_000
"""The most agents that one page looks at."""
QUEUES = 1000
"""The most queues that one page looks at."""
IDS = 200_000
"""The most ids that one page compares with a text."""
FEW = 1000
"""Up to so many agents that a selector or a label limit means are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFilter:
    """Which agents a list shows; None: any."""

    presence: Presence | None = None
    approval: str | None = None
    platform: str | None = None
    selector: Selector | None = None
    backlog: bool | None = None
    """Whether commands are pending for it."""
    search: str | None = None
    """A part of its id, in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Agents, ordered by id, and the id after which the next ones come; None: there are no more."""

    agents: list[Agent]
    next: str | None


def list_page(
    conn: Connection,
    *,
    scope: Scope,
    wanted: AgentFilter | None = None,
    after: str | None = None,
    limit: int,
    rows: int = ROWS,
) -> Found:
    """Read a page of agents with an id above `after`, each with what waits for it."""
    wanted = wanted or AgentFilter()
    parameters = parameters_of(scope, wanted) | {
        "after": after or "",
        "limit": limit,
        "rows": rows,
        "queues": min(QUEUES, rows),
        "ids": IDS if rows == ROWS else rows,
    }
    ids, following = _find(conn, scope, wanted, parameters)
    return Found(agents=read_agents(conn, ids), next=following)


def parameters_of(scope: Scope, wanted: AgentFilter) -> dict[str, Any]:
    """Return the parameters of the conditions of a filter."""
    return {
        "scope": as_parameter(scope),
        "search": wanted.search and wanted.search.lower(),
        "approval": wanted.approval,
        "platform": wanted.platform,
        **(wanted.selector.parameters if wanted.selector else {}),
    }


def read_agents(conn: Connection, ids: list[str]) -> list[Agent]:
    """Read agents, ordered by id, each with what waits for it."""
    return fetch_all(
        conn,
        Agent.from_row,
        f"""
        select {COLUMNS}, {WAITING_COLUMNS}
        from agents a
        {WAITING}
        where a.agent_id = any(%s)
          and a.deleted_at is null
        order by a.agent_id
        """.encode(),
        (ids,),
    )


# The candidates of each index, ordered by id, at most so many that the page is quick: as `c (agent_id)`, and as whole agents
# where their own index is read, which saves a look-up of each.
_BY_LABELS = """
    select f.agent_id
    from unnest(%(with_labels)s::text[]) as f (agent_id)
    where f.agent_id > %(after)s
    order by f.agent_id"""
_BY_ID = """
    select a.*
    from agents a
    where a.agent_id > %(after)s
    order by a.agent_id
    limit %(rows)s"""
# Ids are ASCII, and lower() of another collation takes several times as long.
_LOWER_ID = 'lower({}.agent_id collate "C")'
_BY_TEXT = f"""
    select i.agent_id
    from (select a.agent_id from agents a where a.agent_id > %(after)s order by a.agent_id limit %(ids)s) as i
    where strpos({_LOWER_ID.format("i")}, %(search)s) > 0
    order by i.agent_id"""
# From one agent with a queue to the next one, without reading the queues; read once, also for where it was left.
_QUEUES = """
    recursive next_queues (agent_id) as (
        (select q.agent_id from agent_commands q
         where q.status = 'pending' and q.agent_id > %(after)s order by q.agent_id limit 1)
        union all
        select (
            select q.agent_id from agent_commands q
            where q.status = 'pending' and q.agent_id > n.agent_id order by q.agent_id limit 1)
        from next_queues n
        where n.agent_id is not null
    ), queues as materialized (
        select agent_id from next_queues where agent_id is not null limit %(queues)s
    ),"""
_BY_BACKLOG = "select agent_id from queues"


# Where each of them was left, if it was before its end.
_LEFT = {
    _BY_ID: """
        select a.agent_id
        from agents a
        where a.agent_id > %(after)s
        order by a.agent_id
        offset %(rows)s - 1
        limit 1""",
    _BY_TEXT: """
        select a.agent_id
        from agents a
        where a.agent_id > %(after)s
        order by a.agent_id
        offset %(ids)s - 1
        limit 1""",
    _BY_BACKLOG: "select max(agent_id) from queues having count(*) = %(queues)s",
    _BY_LABELS: "select null where false",
}


def _source(conn: Connection, scope: Scope, wanted: AgentFilter, parameters: dict[str, Any]) -> str:
    """Choose the index that fits best."""
    parameters["with_labels"] = labels.find_few(conn, scope, wanted.selector, parameters, FEW)
    if parameters["with_labels"] is not None:
        return _BY_LABELS
    if wanted.search:
        return _BY_TEXT
    return _BY_BACKLOG if wanted.backlog else _BY_ID


def conditions_of(scope: Scope, wanted: AgentFilter) -> str:
    """Return the conditions on an agent `a`, but for its backlog."""
    conditions = ["a.deleted_at is null", *labels.conditions_of(scope, wanted.selector)]
    if wanted.presence is not None:
        conditions.append(presence_sql(wanted.presence))
    if wanted.approval is not None:
        conditions.append("a.approval = %(approval)s")
    if wanted.platform is not None:
        conditions.append("a.platform = %(platform)s")
    if wanted.search:
        conditions.append(f"strpos({_LOWER_ID.format('a')}, %(search)s) > 0")
    return " and ".join(conditions)


def _conditions(scope: Scope, wanted: AgentFilter, source: str) -> str:
    """Return the conditions on an agent `a` of a source."""
    conditions = [conditions_of(scope, wanted)]
    if wanted.backlog is not None and source != _BY_BACKLOG:
        waits = "(select true from agent_commands q where q.agent_id = a.agent_id and q.status = 'pending' limit 1)"
        conditions.append(f"{waits} is {'not ' if wanted.backlog else ''}null")
    return " and ".join(conditions)


def _find(
    conn: Connection, scope: Scope, wanted: AgentFilter, parameters: dict[str, Any]
) -> tuple[list[str], str | None]:
    """Read the candidates of an index until the page is full; return ids, and the id after which the next ones come."""
    source = _source(conn, scope, wanted, parameters)
    limit, queues = parameters["limit"], parameters["queues"]
    if source == _BY_BACKLOG and 2 * limit < queues:
        # The next few queues usually fill a page.
        ids, following = _read(conn, source, scope, wanted, parameters | {"queues": 2 * limit})
        if following is None or len(ids) == limit:
            return ids, following
    return _read(conn, source, scope, wanted, parameters)


def _read(
    conn: Connection, source: str, scope: Scope, wanted: AgentFilter, parameters: dict[str, Any]
) -> tuple[list[str], str | None]:
    candidates, order = f"({source}) as a", "a.agent_id"
    if source != _BY_ID:
        look_up = "select a.* from agents a where a.agent_id = c.agent_id offset 0"
        candidates, order = f"({source}) as c cross join lateral ({look_up}) as a", "c.agent_id"
    rows = conn.execute(
        f"""
        with {_QUEUES if source == _BY_BACKLOG else ""} found as materialized (
            select a.agent_id
            from {candidates}
            where {_conditions(scope, wanted, source)}
            order by {order}
            limit %(limit)s + 1
        )
        select agent_id, false as is_left from found
        union all
        select l.agent_id, true
        from ({_LEFT[source]}) as l (agent_id)
        where (select count(*) from found) <= %(limit)s
        order by is_left, agent_id
        """.encode(),
        parameters,
    ).fetchall()
    limit = parameters["limit"]
    ids = [agent_id for agent_id, is_left in rows if not is_left]
    if len(ids) > limit:
        return ids[:limit], ids[limit - 1]
    return ids, next((agent_id for agent_id, is_left in rows if is_left), None)
