"""Which commands a filter means, newest first, found by an index and within a bounded number of rows.

Each index that fits a part of the filter gives commands in the same order.  The first index is read until the page is full; if
that takes more than a bounded number of rows, the next one is tried.  If all of them would take more, the page ends early and
says where the next one begins.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dispatcher.access.scopes import Scope, as_parameter
from dispatcher.agents import labels
from dispatcher.agents.selectors import Selector
from dispatcher.commands.lifecycle import ALIVE, Status
from dispatcher.platform.database import Connection

ROWS = 3000
"""The most entries of an index that one page reads; fewer where each needs a look at its command's status."""
LOOKUPS = 2000
FEW_AGENTS = 100
"""Up to so many agents that a selector or a label limit means are read one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which commands a list shows; None: any."""

    agent_id: str | None = None
    session_id: str | None = None
    statuses: frozenset[Status] | None = None
    action: str | None = None
    submitted_by: str | None = None
    since: datetime | None = None
    """Accepted at this moment or later."""
    until: datetime | None = None
    """Accepted before this moment."""
    selector: Selector | None = None
    """Of agents that have these labels now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in the lists: a command's time of acceptance, and its number among those of the same moment."""

    at: datetime
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The ids of commands, newest first, and where the next ones begin; None: there are no more."""

    ids: list[str]
    next: Position | None


def find(
    conn: Connection,
    *,
    scope: Scope,
    wanted: Filter,
    before: Position | None = None,
    limit: int,
    rows: int = ROWS,
    few: int = FEW_AGENTS,
    shared: bool = True,
    condition: str = "true",
) -> Found:
    """Find the newest commands that fit the filter, up to `limit`, accepted before the position `before`.

    No index is read for more than `rows` entries; unless `shared`, for so many of each status.  Up to `few` agents of a
    selector are read one by one.
    `condition` is one more condition in SQL on `command_list` as `w`.
    """
    parameters = _parameters(scope, wanted, before) | {"limit": limit, "rows": rows}
    farthest: Found | None = None
    for stream in _streams(conn, scope, wanted, parameters, few, shared=shared):
        looks_up = wanted.statuses is not None and not stream.has_status
        parameters["rows"] = min(rows, LOOKUPS) if looks_up and rows == ROWS else rows
        found = _read(conn, stream, _conditions(scope, wanted, condition, looks_up=looks_up), parameters, limit)
        if found.next is None or len(found.ids) == limit:
            return found
        if farthest is None or farthest.next is None or _is_older(found.next, farthest.next):
            farthest = found
    assert farthest is not None  # noqa: S101 - there is always an index: that of all commands
    return farthest


def _is_older(one: Position, other: Position) -> bool:
    return (one.at, one.seq) < (other.at, other.seq)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    """Entries of an index: for each of `keys`, the rows of `source` whose `column` is the key, by time."""

    source: str = "command_list"
    column: str = ""
    keys: str = ""
    """The parameter with the keys; empty: one stream of all rows."""
    has_status: bool = False
    """Whether it has only commands in a status that is wanted."""
    is_shared: bool = True
    """Whether the keys share the bound on rows; otherwise each has its own, because it has few, or so that all are read."""


def _streams(
    conn: Connection, scope: Scope, wanted: Filter, parameters: dict[str, Any], few: int, *, shared: bool
) -> Iterator[_Stream]:
    """Yield the indexes that fit, the most selective first."""
    if wanted.session_id is not None:
        parameters["session_ids"] = [wanted.session_id]
        yield _Stream(column="session_id", keys="session_ids")
    if wanted.agent_id is not None:
        parameters["agent_ids"] = [wanted.agent_id]
        yield from _of_agents(wanted)
        return  # whoever asks for one agent does not read those of all others
    agent_ids = labels.find_few(conn, scope, wanted.selector, parameters, few)
    if agent_ids is not None:
        parameters["agent_ids"] = agent_ids
        yield from _of_agents(wanted)
    if wanted.statuses is not None:
        yield _Stream(
            source="agent_commands", column="lower(r.status)", keys="statuses", has_status=True, is_shared=shared
        )
    if wanted.action is not None:
        parameters["actions"] = [wanted.action]
        yield _Stream(column="action", keys="actions")
    if wanted.submitted_by is not None:
        parameters["submitters"] = [wanted.submitted_by]
        yield _Stream(column="submitted_by", keys="submitters")
    if wanted.statuses is None or wanted.since or wanted.until:
        yield _Stream()


# By the two indexes of what is pending and what is under way.
_ALIVE = """(
    select * from agent_commands where status = 'pending' and 'pending' = any(%(statuses)s::text[])
    union all
    select * from agent_commands where status in ('sent', 'acknowledged') and status = any(%(statuses)s::text[]))"""


def _of_agents(wanted: Filter) -> Iterator[_Stream]:
    if wanted.statuses is not None and wanted.statuses <= ALIVE:
        yield _Stream(source=_ALIVE, column="agent_id", keys="agent_ids", has_status=True, is_shared=False)
    yield _Stream(column="agent_id", keys="agent_ids")


def _conditions(scope: Scope, wanted: Filter, condition: str, *, looks_up: bool) -> str:
    """Return the conditions on an entry `w`.

    What is in another table is a scalar subquery: the planner joins it to nothing, so that it is read for each entry by its key
    and never as a whole.
    """
    conditions = [condition]
    columns = ("agent_id", "session_id", "action", "submitted_by")
    conditions += [f"w.{column} = %({column})s" for column in columns if getattr(wanted, column) is not None]
    if looks_up:
        conditions.append(
            "(select c.status from agent_commands c where c.command_id = w.command_id) = any(%(statuses)s::text[])"
        )
    if of_agent := labels.conditions_of(scope, wanted.selector):
        conditions.append(f"""coalesce((
            select {" and ".join(of_agent)}
            from agents a
            where a.agent_id = w.agent_id
              and (w.incarnation is null or w.incarnation = a.incarnation)), false)""")
    return " and ".join(conditions)


def _parameters(scope: Scope, wanted: Filter, before: Position | None) -> dict[str, Any]:
    first = before
    if wanted.until is not None and (before is None or wanted.until <= before.at):
        first = Position(at=wanted.until, seq=0)
    return {
        "scope": as_parameter(scope),
        "agent_id": wanted.agent_id,
        "session_id": wanted.session_id,
        "action": wanted.action,
        "submitted_by": wanted.submitted_by,
        "statuses": None if wanted.statuses is None else sorted(wanted.statuses),
        # One bound at each end, so that an index is read from there and not from its own end.
        "since": wanted.since or "-infinity",
        "before_at": first.at if first else "infinity",
        "before_seq": first.seq if first else 0,
        **(wanted.selector.parameters if wanted.selector else {}),
    }


def _read(conn: Connection, stream: _Stream, conditions: str, parameters: dict[str, Any], limit: int) -> Found:
    """Read the entries of a stream until `limit` of them fit the conditions."""
    keys = f"unnest(%({stream.keys})s::text[])" if stream.keys else "(values (null))"
    share = f"%(rows)s / greatest(1, cardinality(%({stream.keys})s::text[]))" if stream.keys else "%(rows)s"
    if not stream.is_shared:
        share = "%(rows)s"
    column = stream.column if stream.column.startswith("lower(") else f"r.{stream.column}"
    entries = f"""
        select r.command_id, r.agent_id, r.session_id, r.action, r.submitted_by, r.incarnation, r.created_at, r.seq
        from {stream.source} as r
        where {f"{column} = k.key" if stream.keys else "true"}
          and (r.created_at, r.seq) < (%(before_at)s::timestamptz, %(before_seq)s::bigint)
          and r.created_at >= %(since)s::timestamptz
        order by r.created_at desc, r.seq desc"""
    rows = conn.execute(
        f"""
        with each as materialized (
            select k.key, f.command_id, f.created_at, f.seq
            from {keys} as k (key)
            cross join lateral (
                select w.command_id, w.created_at, w.seq
                from ({entries} limit {share}) as w
                where {conditions}
                order by w.created_at desc, w.seq desc
                limit %(limit)s + 1) as f
        ), found as materialized (
            select command_id, created_at, seq from each order by created_at desc, seq desc limit %(limit)s + 1
        ), cut as materialized (
            -- Where an index was left before its end; further back its commands are not known.
            select e.created_at, e.seq
            from {keys} as k (key)
            cross join lateral ({entries} offset {share} - 1 limit 1) as e
            where (select count(*) from each where each.key is not distinct from k.key) <= %(limit)s
            order by e.created_at desc, e.seq desc
            limit 1
        )
        select f.command_id, f.created_at, f.seq
        from found f
        where not exists (select from cut where (f.created_at, f.seq) < (cut.created_at, cut.seq))
        union all
        select null, created_at, seq from cut
        order by 2 desc, 3 desc, 1
        """.encode(),
        parameters,
    ).fetchall()
    ids = [command_id for command_id, _, _ in rows if command_id is not None]
    if len(ids) > limit:
        _, at, seq = rows[limit - 1]
        return Found(ids=ids[:limit], next=Position(at=at, seq=seq))
    if len(ids) == len(rows):
        return Found(ids=ids, next=None)
    _, at, seq = rows[-1]
    return Found(ids=ids, next=Position(at=at, seq=seq))
