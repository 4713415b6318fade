"""What must always hold, as queries for the rows that break it, and the figures that go with it."""

from collections.abc import Mapping, Sequence
from typing import LiteralString

from dispatcher.platform.database import Connection

# Two sweeps, the promise of I15; a command may be due for as long with nobody at fault.
OVERDUE: LiteralString = "interval '2 minutes'"
# By the index of its spelling (schema/0001), whatever the planner believes of the table.
_LATEST: LiteralString = "(select * from agent_commands order by -seq limit 100000) as c"

CHECKS: Mapping[str, LiteralString] = {
    # I2: accepted, not ended, and gone.
    "lost_commands": """
        select h.command_id from command_history h
        where h.from_status is null and h.at > now() - interval '1 day'
          and not exists (select from agent_commands c where c.command_id = h.command_id)""",
    # I15: due, its agent connected and silent about nothing, and nobody delivers it.
    "stuck_commands": f"""
        select c.command_id from agents a cross join lateral (
            select c.* from agent_commands c where c.agent_id = a.agent_id and c.status = 'pending'
              and coalesce(c.not_before, c.created_at) < now() - {OVERDUE} and (c.deliver_by is null or c.deliver_by > now())
            order by c.priority desc, c.seq limit 1) as c
        where a.connection_id is not null and a.approval = 'approved' and a.connected_at < now() - {OVERDUE}
          and (a.throttled_until is null or a.throttled_until < now() - {OVERDUE})
          and not exists (select from agent_commands f where f.agent_id = a.agent_id and f.status = 'sent')
          and not exists (select from command_history h where h.command_id = c.command_id and h.at > now() - {OVERDUE})""",
    # The clocks have not been looked at.
    "overdue_commands": f"""
        select command_id from agent_commands where status = 'pending' and deliver_by < now() - {OVERDUE}
        union all
        select command_id from agent_commands where status = 'acknowledged' and execution_deadline < now() - {OVERDUE}
        union all
        select s.command_id from agent_commands s where s.status = 'sent' and s.ack_deadline < now() - {OVERDUE}
          and not exists (select from agent_commands busy where busy.agent_id = s.agent_id
              and busy.status = 'acknowledged' and busy.epoch = s.epoch)""",
    # I6: what the table of transitions does not know, and nobody did by hand.
    "illegal_transitions": """
        select h.command_id from command_history h
        where h.at > now() - interval '1 day' and h.from_status is not null
          and h.cause <> 'changed by hand' and not (h.from_status || '>' || h.to_status = any(%(legal)s))""",
    # I16: the history ends elsewhere than the command.
    "broken_histories": f"""
        select c.command_id from {_LATEST} left join lateral (
            select h.to_status from command_history h where h.command_id = c.command_id
            order by h.history_id desc limit 1) as last on true
        where last.to_status is distinct from c.status""",
    # I12.
    "times_out_of_order": f"""
        select c.command_id from {_LATEST}
        where sent_at < created_at or (acknowledged_at < sent_at and status = 'acknowledged') or completed_at < created_at""",
}
FIGURES: Mapping[str, LiteralString] = {
    "pending_commands": "select count(*) from (select from agent_commands where status = 'pending' limit 1000000) as counted",
    "sent_commands": "select count(*) from agent_commands where status = 'sent'",
    "executing_commands": "select count(*) from agent_commands where status = 'acknowledged'",
    "dead_commands": """select count(*) from agent_commands
        where status = 'dead' and completed_at > now() - interval '1 day'""",
    "connected_agents": "select count(*) from agents where connection_id is not null",
    "oldest_due_seconds": """
        select coalesce(extract(epoch from now() - min(oldest.since)), 0)::float8 from agents a cross join lateral (
            select greatest(c.created_at, c.not_before) as since from agent_commands c
            where c.agent_id = a.agent_id and c.status = 'pending' and (c.not_before is null or c.not_before <= now())
            order by c.priority desc, c.seq limit 1) as oldest
        where a.connection_id is not null""",
}


def offenders(conn: Connection, check: str, legal: Sequence[str], most: int) -> list[str]:
    """Name the commands that break a promise, up to `most`; `legal` are the transitions that there are."""
    rows = conn.execute(
        f"select command_id from ({CHECKS[check]}) as offenders limit %(most)s", {"legal": list(legal), "most": most}
    ).fetchall()
    return [command_id for (command_id,) in rows]


def figure(conn: Connection, name: str) -> float:
    """Compute a figure."""
    row = conn.execute(FIGURES[name]).fetchone()
    return float(row[0]) if row else 0.0
