"""The loss check: the invariants, checked on the live rows.

Each check is one query for rows that break an invariant.  If a query returns a row, an invariant is broken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString

from dispatcher.commands.lifecycle import TRANSITIONS
from dispatcher.platform.database import Connection

COUNTED = 1000
"""The most offending rows that one check counts: it only matters whether there are any."""
NAMED = 5
"""The most of them that are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check, and the ids of up to COUNTED rows that break it."""

    check: str
    ids: tuple[str, ...]

    @property
    def offenders(self) -> int:
        """How many rows break it, up to COUNTED."""
        return len(self.ids)

    @property
    def some(self) -> tuple[str, ...]:
        """The ids that are named to people."""
        return self.ids[:NAMED]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossReport:
    """What the loss check found, and figures of the moment."""

    findings: tuple[Finding, ...]
    figures: Mapping[str, float]

    @property
    def clean(self) -> bool:
        """Whether every invariant holds."""
        return not any(finding.offenders for finding in self.findings)


def check_for_loss(conn: Connection) -> LossReport:
    """Run every check on the rows as they are now.  Only reads."""
    return LossReport(
        findings=tuple(run(conn, check) for check in CHECKS), figures={name: figure(conn, name) for name in FIGURES}
    )


def figure(conn: Connection, name: str) -> float:
    """Compute one of FIGURES."""
    row = conn.execute(FIGURES[name]).fetchone()
    return float(row[0]) if row else 0.0


def record_figures(conn: Connection) -> None:
    """Store the figures that GET /healthz shows, so that it reads one row."""
    conn.execute(_RECORD)


def recorded_figure(conn: Connection, name: str) -> float:
    """Return a figure of HEALTH as the last sweep found it; 0 before the first sweep."""
    row = conn.execute("select value from figures where name = %s", (name,)).fetchone()
    return float(row[0]) if row else 0.0


def run(conn: Connection, check: str) -> Finding:
    """Run one of CHECKS.  Only reads."""
    legal = [f"{source}>{move.target}" for move in TRANSITIONS.values() for source in move.sources]
    with conn.transaction():
        # Every check has its index; without statistics the planner would rather read all of the history.
        conn.execute("select set_config('enable_seqscan', 'off', true)")
        rows = conn.execute(
            f"select command_id from ({CHECKS[check]}) as offenders limit %(most)s", {"legal": legal, "most": COUNTED}
        ).fetchall()
    return Finding(check=check, ids=tuple(command_id for (command_id,) in rows))


# Two sweeps (I15): a command may be due for this long without an error.
_OVERDUE: LiteralString = "now() - interval '2 minutes'"

# How far back the history is read at each check, every five minutes; an index on the time finds the rows.
_RECENT: LiteralString = "now() - interval '1 hour'"

# The newest commands, each looked up by its key, whatever the statistics say.
_NEWEST: LiteralString = """
            select c.*
            from (select l.command_id from command_list l order by l.created_at desc, l.seq desc limit 10000) as newest
            cross join lateral (select * from agent_commands c where c.command_id = newest.command_id offset 0) as c
            """

# Each connected agent with something due, and since when its first command is.
_OLDEST_DUE: LiteralString = """
        from agents a
        cross join lateral (
            select greatest(c.created_at, c.not_before) as since
            from agent_commands c
            where c.agent_id = a.agent_id
              and c.status = 'pending'
              and (c.not_before is null or c.not_before <= now())
            order by c.priority desc, c.seq
            limit 1) as oldest
        where a.connection_id is not null
        """

HEALTH = ("oldest_due_seconds", "feed_lag_seconds")
"""The figures that each sweep records."""

CHECKS: Mapping[str, LiteralString] = {
    # I2: accepted within an hour, and gone, or deleted within a day: nothing deletes a command so soon.
    "lost_commands": f"""
        select h.command_id
        from command_history h
        where h.from_status is null
          and h.at > {_RECENT}
          and not exists (select from agent_commands c where c.command_id = h.command_id)
        union
        select h.command_id
        from command_history h
        where h.to_status = 'deleted'
          and h.at > now() - interval '1 day'
          and not exists (select from agent_commands c where c.command_id = h.command_id)
        """,
    # I15: a due command is not delivered, although its agent is connected, is not mute and owes no ack.
    "stuck_commands": f"""
        select first.command_id
        from agents a
        cross join lateral (
            select c.command_id
            from agent_commands c
            where c.agent_id = a.agent_id
              and c.status = 'pending'
              and greatest(c.created_at, c.not_before, c.retry_at) < {_OVERDUE}
              and (c.incarnation is null or c.incarnation = a.incarnation)
              and (c.deliver_by is null or c.deliver_by > now())
            order by c.priority desc, c.seq
            limit 1) as first
        where a.connection_id is not null
          and a.approval = 'approved'
          and a.connected_at < {_OVERDUE}
          and (a.spoke or a.mute_connections < 2 and a.commanded_at is null)  -- not mute
          and a.refusals = 0
          and (a.throttled_until is null or a.throttled_until < {_OVERDUE})
          and not exists (select from agent_commands f where f.agent_id = a.agent_id and f.status = 'sent')
          and not exists (
            select from command_history h where h.command_id = first.command_id and h.at > {_OVERDUE})
        """,
    # A deadline has passed, and no sweep has acted on it.
    "overdue_commands": f"""
        select command_id
        from commands_by_own_index
        where expiring_status = 'pending' and deliver_by < {_OVERDUE}
        union all
        select command_id
        from agent_commands
        where status = 'acknowledged' and execution_deadline < {_OVERDUE}
        union all
        select s.command_id
        from agent_commands s
        where s.status = 'sent'
          and s.ack_deadline < {_OVERDUE}
          -- An agent may be busy with another command for five minutes (see redelivery.py).
          and (s.ack_deadline < {_OVERDUE} - interval '5 minutes' or not exists (
            select from agent_commands busy
            where busy.agent_id = s.agent_id
              and busy.status = 'acknowledged'
              and busy.epoch = s.epoch))
        """,
    # I6: a transition that is not in TRANSITIONS and was not made by hand.
    "illegal_transitions": f"""
        select h.command_id
        from command_history h
        where h.at > {_RECENT}
          and h.from_status is not null
          and not h.by_hand
          and h.from_status || '>' || h.to_status <> all(%(legal)s)
        """,
    # I16: the history ends with another status than the command.
    "broken_histories": f"""
        select c.command_id
        from ({_NEWEST}) as c
        left join lateral (
            select h.to_status
            from command_history h
            where h.command_id = c.command_id
            order by h.history_id desc
            limit 1) as last on true
        where last.to_status is distinct from c.status
        """,
    # I12.
    "times_out_of_order": f"""
        select c.command_id
        from ({_NEWEST}) as c
        where c.sent_at < c.created_at
           or (c.acknowledged_at < c.sent_at and c.status = 'acknowledged')
           or c.completed_at < c.created_at
        """,
}
FIGURES: Mapping[str, LiteralString] = {
    "pending_commands": """
        select count(*) from (select from agent_commands where status = 'pending' limit 1000000) as counted
        """,
    "sent_commands": "select count(*) from agent_commands where status = 'sent'",
    "executing_commands": "select count(*) from agent_commands where status = 'acknowledged'",
    "dead_commands": """
        select count(*) from agent_commands where status = 'dead' and completed_at > now() - interval '1 day'
        """,
    # Since the last check, and a little more: an alarm on this rings again for the next one.
    "newly_dead_commands": """
        select count(*) from agent_commands where status = 'dead' and completed_at > now() - interval '6 minutes'
        """,
    # A post that the gateway refuses costs no attempt, so that nothing but this shows how long it has been going on.
    "refused_agents": "select count(*) from agents where refusals > 0 and connection_id is not null",
    # Refused for five minutes since the last check, and a little more.
    "newly_refused_agents": """
        select count(*)
        from agents
        where refusals > 0
          and connection_id is not null
          and refused_since between now() - interval '11 minutes' and now() - interval '5 minutes'
        """,
    "longest_refused_seconds": """
        select coalesce(extract(epoch from now() - min(refused_since)), 0)::float8
        from agents
        where refusals > 0
          and connection_id is not null
        """,
    "mute_agents": """
        select count(*)
        from agents
        where connection_id is not null
          and not spoke
          and (mute_connections >= 2 or commanded_at < now() - interval '2 minutes')
        """,
    "newly_mute_agents": """
        select count(*)
        from agents
        where connection_id is not null
          and not spoke
          and (mute_connections >= 2 and connected_at > now() - interval '6 minutes'
            or commanded_at between now() - interval '8 minutes' and now() - interval '2 minutes')
        """,
    "connected_agents": "select count(*) from agents where connection_id is not null",
    "oldest_due_seconds": f"""
        select coalesce(extract(epoch from now() - min(oldest.since)), 0)::float8
        {_OLDEST_DUE}
        """,
    # Their oldest command has been due for five minutes since the last check, and a little more.
    "newly_late_agents": f"""
        select count(*)
        {_OLDEST_DUE}
          and oldest.since between now() - interval '11 minutes' and now() - interval '5 minutes'
        """,
    # How long the oldest event has waited for transactions that began before it (I20); more than seconds: one of them is stuck.
    "feed_lag_seconds": """
        select coalesce(extract(epoch from now() - min(waiting.at)), 0)::float8
        from (
            (
                select at
                from command_history
                where position >= feed_horizon()
                order by position, history_id
                limit 1
            )
            union all
            (
                select at
                from agent_events
                where position >= feed_horizon()
                order by position, number
                limit 1
            )
        ) as waiting
        """,
    # How old the oldest event is that a sink has not passed on; a sink that was switched off does not count.
    "sink_lag_seconds": """
        select coalesce(extract(epoch from now() - min(next.at)), 0)::float8
        from sinks s
        cross join lateral (
            (
                select h.at
                from command_history h
                where (h.position, h.history_id) > (s.position, s.number)
                order by h.position, h.history_id
                limit 1
            )
            union all
            (
                select e.at
                from agent_events e
                where (e.position, e.number) > (s.position, s.number)
                order by e.position, e.number
                limit 1
            )
        ) as next
        where s.ran_at > now() - interval '10 minutes'
        """,
}

_RECORD: LiteralString = f"""
    insert into figures (name, value)
    values {", ".join(f"('{name}', ({FIGURES[name]}))" for name in HEALTH)}
    on conflict (name) do update
    set value = excluded.value,
        at = now()
    """
