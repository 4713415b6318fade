"""The overview: figures of the fleet that are computed now and then, so that to ask for them reads a few rows.

Each label limit has its own figures, from the first time that somebody asks with it.  The sweep refreshes them, and so does
a request where that is quick.  A refresh is not repeated before REST times as long as it took: so it takes at most one
hundredth of one processor, and the figures get older instead.

Commands are counted once, when figures begin.  From then on a refresh adds what the history says of the last minutes, which an
index by time finds: it reads each transition about twice, however many commands there are.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from dispatcher.access.scopes import AGENT_IN_SCOPE, IN_SCOPE, OWNER_IN_SCOPE, Scope, as_parameter
from dispatcher.agents.registry import presence_sql
from dispatcher.commands import loss_check
from dispatcher.commands.lifecycle import Status
from dispatcher.platform.database import Connection, fetch_all

REST = 100
LEAST_REST_SECONDS = 1.0
INLINE_SECONDS = 0.1
"""A request refreshes the figures itself if that took less than this the last time."""
SERIES_MINUTES = 60
SAMPLE = 2000
"""The commands that the latencies are of: those that ended last, within an hour."""
WINDOWS = 12
"""How many times ten minutes one refresh makes up for, after the sweep did not run for a while."""
SCOPES = 20
"""The label limits whose figures one sweep refreshes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What happened in one minute."""

    minute: datetime
    accepted: int
    sent: int
    completed: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Figures of the agents and commands that an operator may see, as of `at`."""

    at: datetime
    dead_last_24h: int
    series: list[Minute]
    # Empty while another request computes them for the first time.
    agents: dict[str, int] = field(default_factory=dict[str, int])
    commands: dict[str, int] = field(default_factory=dict[str, int])
    oldest_due_seconds: float = 0
    latency: dict[str, dict[str, float | None]] = field(default_factory=dict[str, dict[str, float | None]])


def read(conn: Connection, scope: Scope) -> Overview:
    """Return the figures; compute them if nobody has asked with this label limit before, or if that is quick."""
    labels = as_parameter(scope)
    conn.execute(
        """
        insert into overviews as o (labels)
        values (%s)
        on conflict (labels) do update
        set asked_at = now()
        where o.asked_at < now() - interval '1 hour'
        """,
        (labels,),
    )
    _refresh(conn, scope, inline=True)
    row = conn.execute(
        """
        select
            o.overview_id,
            coalesce(o.refreshed_at, now()),
            o.figures,
            coalesce((
                select sum(m.dead)
                from overview_minutes m
                where m.overview_id = o.overview_id
                  and m.minute > now() - interval '24 hours'), 0)::integer
        from overviews o
        where o.labels is not distinct from %s::jsonb
        """,
        (labels,),
    ).fetchone()
    assert row is not None  # noqa: S101 - inserted above
    overview_id, at, figures, dead = row
    return Overview(at=at, dead_last_24h=dead, series=_series(conn, overview_id), **figures)


def refresh_asked(conn: Connection) -> None:
    """Refresh the figures without a limit, and those that somebody asked for within a day."""
    rows = conn.execute(
        """
        with old_deletions as (
            delete from command_deletions where at < now() - interval '3 days'
        ), unasked as (
            delete from overviews where labels is not null and asked_at < now() - interval '7 days'
        )
        select labels
        from overviews
        where labels is null
           or asked_at > now() - interval '1 day'
        order by labels is not null, refreshed_at nulls first
        limit %s
        """,
        (SCOPES,),
    ).fetchall()
    for (labels,) in rows:
        _refresh(conn, labels, inline=False)


def _series(conn: Connection, overview_id: int) -> list[Minute]:
    return fetch_all(
        conn,
        Minute,
        """
        select
            g.minute,
            coalesce(m.accepted, 0) as accepted,
            coalesce(m.sent, 0) as sent,
            coalesce(m.completed, 0) as completed,
            coalesce(m.failed, 0) as failed
        from generate_series(
            date_trunc('minute', now()) - (%(minutes)s - 1) * interval '1 minute',
            date_trunc('minute', now()),
            interval '1 minute') as g (minute)
        left join overview_minutes m on m.overview_id = %(overview_id)s and m.minute = g.minute
        order by g.minute
        """,
        {"overview_id": overview_id, "minutes": SERIES_MINUTES},
    )


def _refresh(conn: Connection, scope: Scope, *, inline: bool) -> None:
    """Compute the figures unless they are fresh enough, or somebody else does so now."""
    parameters: dict[str, Any] = {
        "scope": as_parameter(scope),
        "rest": REST,
        "least": LEAST_REST_SECONDS,
        "most": INLINE_SECONDS if inline else float("inf"),
    }
    with conn.transaction():
        due = conn.execute(
            """
            select overview_id
            from overviews
            where labels is not distinct from %(scope)s::jsonb
              and (refreshed_at is null
                   or took <= %(most)s
                  and refreshed_at < clock_timestamp() - greatest(%(least)s, took * %(rest)s) * interval '1 second')
            for no key update skip locked
            """,
            parameters,
        ).fetchone()
        if due is None:
            return
        parameters["overview_id"] = due[0]
        commands = _roll_up(conn, parameters)
        figures = {
            "agents": _agents(conn, parameters),
            "commands": dict.fromkeys(Status, 0) | commands,
            "oldest_due_seconds": _oldest_due(conn, scope, parameters),
            "latency": _latency(conn, parameters),
        }
        conn.execute(
            """
            with past as (
                delete from overview_minutes
                where overview_id = %(overview_id)s
                  and minute < now() - interval '25 hours'
            )
            update overviews
            set figures = %(figures)s,
                refreshed_at = clock_timestamp(),
                took = extract(epoch from clock_timestamp() - now())
            where overview_id = %(overview_id)s
            """,
            parameters | {"figures": Jsonb(figures)},
        )


def _roll_up(conn: Connection, parameters: dict[str, Any]) -> dict[str, int]:
    """Add the transitions of the last minutes; return the commands by status."""
    shown: dict[str, int] = {}
    for _ in range(WINDOWS):
        row = conn.execute(_MINUTES, parameters).fetchone()
        if row is None or row[0] is None:
            conn.execute(_BEGIN, parameters)
            # One statement sees the commands and the history as of the same moment.
            text = _COUNT.replace("{counted}", _ALL if parameters["scope"] is None else _OF_SCOPE)
            counted = dict(conn.execute(text.encode(), parameters).fetchall())
        else:
            counted = row[0]
        rows = conn.execute(_CHANGES, parameters).fetchall()
        final = {status: number for status, number, _ in rows}
        recent = {status: number for status, _, number in rows}
        base = _sum(counted, final)
        shown = _sum(base, recent)
        done = conn.execute(_ADVANCE, parameters | {"counted": Jsonb(base)}).fetchone()
        if done is None or done[0]:
            break
    return shown


def _sum(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {status: one.get(status, 0) + other.get(status, 0) for status in one | other}


# What happened from `rolled_until` on, for ten minutes.  A minute is final half a minute after its end: no transition is
# committed later than that.
_WINDOW = """
    o as (
        select
            rolled_until as since,
            rolled_until + interval '10 minutes' as till,
            greatest(rolled_until, least(
                rolled_until + interval '10 minutes', date_trunc('minute', now() - interval '30 seconds'))) as final
        from overviews
        where overview_id = %(overview_id)s
    )"""
_VISIBLE = f"""(%(scope)s::jsonb is null or coalesce((
    select {OWNER_IN_SCOPE} from agent_commands c where c.command_id = h.command_id), false))"""
_CHANGED = f"""
    moves as (
        select h.from_status, h.to_status, h.at
        from command_history h
        where h.at >= (select since from o)
          and h.at < (select till from o)
          and h.to_status <> 'deleted'
          and {_VISIBLE}
    ), changes as (
        select to_status as status, at, 1 as number from moves
        union all
        select from_status, at, -1 from moves where from_status is not null
        union all
        select d.status, d.at, -d.number
        from command_deletions d
        where d.at >= (select since from o)
          and d.at < (select till from o)
          and (%(scope)s::jsonb is null
               or exists (select from agents a where a.agent_id = d.agent_id and {IN_SCOPE}))
    )"""
_CHANGES = f"""
    with {_WINDOW}, {_CHANGED}
    select
        status,
        coalesce(sum(number) filter (where at < (select final from o)), 0)::integer,
        coalesce(sum(number) filter (where at >= (select final from o)), 0)::integer
    from changes
    group by status
    """
_COUNT = f"""
    with {_WINDOW}, {_CHANGED}
    select status, sum(number)::integer
    from (
        {{counted}}
        union all
        select status, -number from changes) as counted (status, number)
    group by status
    """
_ALL = "select c.status, count(*) as number from agent_commands c group by c.status"
_OF_SCOPE = f"""
        select c.status, count(*)
        from agents a
        join command_list l
            on l.agent_id = a.agent_id
            and (l.incarnation is null or l.incarnation = a.incarnation)
        join agent_commands c on c.command_id = l.command_id
        where {IN_SCOPE}
        group by c.status"""
_BEGIN = """
    update overviews
    set rolled_until = date_trunc('minute', now() - interval '30 seconds')
    where overview_id = %(overview_id)s
    """
_ADVANCE = f"""
    with {_WINDOW}
    update overviews
    set counted = %(counted)s,
        rolled_until = o.final
    from o
    where overview_id = %(overview_id)s
    returning o.till > now()
    """
_MINUTES = f"""
    with {_WINDOW}, transitions as (
        select date_trunc('minute', h.at) as minute, h.from_status, h.to_status
        from command_history h
        where h.at >= (select date_trunc('minute', since) from o)
          and h.at < (select till from o)
          and {_VISIBLE}
    ), added as (
        insert into overview_minutes (overview_id, minute, accepted, sent, completed, failed, dead)
        select
            %(overview_id)s,
            minute,
            count(*) filter (where from_status is null),
            count(*) filter (where to_status = 'sent'),
            count(*) filter (where to_status = 'completed'),
            count(*) filter (where to_status = 'failed'),
            count(*) filter (where to_status = 'dead')
        from transitions
        group by minute
        on conflict (overview_id, minute) do update
        set accepted = excluded.accepted,
            sent = excluded.sent,
            completed = excluded.completed,
            failed = excluded.failed,
            dead = excluded.dead
    )
    select counted from overviews where overview_id = %(overview_id)s
    """


def _agents(conn: Connection, parameters: dict[str, Any]) -> dict[str, int]:
    row = conn.execute(
        f"""
        select
            count(*) filter (where {presence_sql("online")}),
            count(*) filter (where {presence_sql("degraded")}),
            count(*) filter (where {presence_sql("offline")})
        from agents a
        where a.deleted_at is null
          and {AGENT_IN_SCOPE}
        """.encode(),
        parameters,
    ).fetchone()
    return dict(zip(("online", "degraded", "offline"), row or (0, 0, 0), strict=True))


def _oldest_due(conn: Connection, scope: Scope, parameters: dict[str, Any]) -> float:
    if scope is None:
        return loss_check.recorded_figure(conn, "oldest_due_seconds")
    row = conn.execute(f"{loss_check.FIGURES['oldest_due_seconds']} and {AGENT_IN_SCOPE}", parameters).fetchone()
    return row[0] if row else 0.0


def _latency(conn: Connection, parameters: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    row = conn.execute(
        f"""
        with last as materialized (
            select *
            from agent_commands c
            where c.completed_at > now() - interval '1 hour'
            order by c.completed_at desc
            limit {SAMPLE}
        ), spans as (
            select
                extract(epoch from c.sent_at - greatest(c.created_at, c.not_before)) as to_sent,
                extract(epoch from c.acknowledged_at - c.sent_at) as to_acknowledged,
                extract(epoch from c.completed_at - c.acknowledged_at) as to_ended
            from last c
            where {OWNER_IN_SCOPE}
        )
        select
            percentile_cont(array[0.5, 0.95, 0.99]) within group (order by to_sent::float8) filter (where to_sent >= 0),
            percentile_cont(array[0.5, 0.95, 0.99]) within group (order by to_acknowledged::float8)
                filter (where to_acknowledged >= 0),
            percentile_cont(array[0.5, 0.95, 0.99]) within group (order by to_ended::float8) filter (where to_ended >= 0)
        from spans
        """.encode(),
        parameters,
    ).fetchone()
    names = ("acceptedToSent", "sentToAcknowledged", "acknowledgedToEnded")
    return {
        name: dict(zip(("p50", "p95", "p99"), found or (None, None, None), strict=True))
        for name, found in zip(names, row or (None, None, None), strict=True)
    }
