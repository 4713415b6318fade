"""The overview: figures of the fleet that are computed now and then, so that to ask for them reads a few rows.

Each label limit has its own figures, from the first time that somebody asks with it.  The sweep refreshes them, and so does a
request where that is quick.  A refresh is not repeated before REST times as long as it took: so the figures of a large table take
about one hundredth of one processor, and get older instead.  What costs most is to count the commands by status, which reads an
index of all of them; a million take about half a second.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from dispatcher.access.scopes import AGENT_IN_SCOPE, OWNER_IN_SCOPE, Scope, as_parameter
from dispatcher.agents.registry import presence_sql
from dispatcher.commands import loss_check
from dispatcher.commands.lifecycle import Status
from dispatcher.platform.database import Connection, fetch_all

REST = 100
LEAST_REST_SECONDS = 1.0
INLINE_SECONDS = 0.1
"""A request refreshes the figures itself if that took less than this the last time."""
SERIES_MINUTES = 60
SAMPLE = 10_000
"""The commands that the latencies are of: those that ended last, within an hour."""
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
    conn.execute("delete from overviews where labels is not null and asked_at < now() - interval '7 days'")


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
        conn.execute(_ROLL_UP, parameters)
        figures = {
            "agents": _agents(conn, parameters),
            "commands": _commands(conn, parameters),
            "oldest_due_seconds": _oldest_due(conn, scope, parameters),
            "latency": _latency(conn, parameters),
        }
        conn.execute(
            """
            update overviews
            set figures = %(figures)s,
                refreshed_at = clock_timestamp(),
                took = extract(epoch from clock_timestamp() - now()),
                -- A minute is final half a minute after its end: no transition is committed later than that.
                rolled_until = least(
                    rolled_until + interval '10 minutes', date_trunc('minute', now() - interval '30 seconds'))
            where overview_id = %(overview_id)s
            """,
            parameters | {"figures": Jsonb(figures)},
        )
        conn.execute(
            "delete from overview_minutes where overview_id = %(overview_id)s and minute < now() - interval '25 hours'",
            parameters,
        )


# Counts the minutes that are not final anew, at most ten; the index of the history by time finds their rows.
_ROLL_UP = f"""
    with transitions as (
        select date_trunc('minute', h.at) as minute, h.from_status, h.to_status
        from command_history h
        where h.at >= (select rolled_until from overviews where overview_id = %(overview_id)s)
          and h.at < (select rolled_until + interval '11 minutes' from overviews where overview_id = %(overview_id)s)
          and (%(scope)s::jsonb is null or coalesce((
              select {OWNER_IN_SCOPE} from agent_commands c where c.command_id = h.command_id), false))
    )
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
    """.encode()


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


def _commands(conn: Connection, parameters: dict[str, Any]) -> dict[str, int]:
    rows = conn.execute(
        f"select c.status, count(*) from agent_commands c where {OWNER_IN_SCOPE} group by c.status", parameters
    ).fetchall()
    return {status: 0 for status in Status} | dict(rows)


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
        """,
        parameters,
    ).fetchone()
    names = ("acceptedToSent", "sentToAcknowledged", "acknowledgedToEnded")
    return {
        name: dict(zip(("p50", "p95", "p99"), found or (None, None, None), strict=True))
        for name, found in zip(names, row or (None, None, None), strict=True)
    }
