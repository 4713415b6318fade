"""All that can keep a command where it is, in one look."""

from typing import Any

from psycopg.rows import dict_row

from dispatcher.platform.database import Connection

MOST = 1000
"""Commands before a command that are counted; beyond, there are at least as many."""
_BEFORE_IT = """from agent_commands f where f.agent_id = c.agent_id and f.status = 'pending'
    and (f.not_before is null or f.not_before <= now()) and (f.priority, -f.seq) > (c.priority, -c.seq)"""


def of(conn: Connection, command_id: str) -> dict[str, Any] | None:
    """Read a command together with its agent and with what is before it; None where there is no such command."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            f"""
            select c.status, c.cause, c.error_message, c.attempt, c.max_attempts, c.sent_at, c.acknowledged_at,
                c.completed_at, c.ack_deadline, c.execution_deadline, c.not_before, c.cancel_requested_at,
                c.not_before > now() as early, c.deliver_by <= now() as late, c.agent_id,
                a.agent_id is not null as known, a.approval, a.deleted_at, a.connection_id, a.last_seen_at,
                a.throttled_until, a.throttled_until > now() as throttled, a.lease_expires_at > now() as leased,
                flight.command_id as in_flight,
                flight.number >= case a.dialect when 'silent' then 1 else a.delivery_window end as window_full,
                first.command_id as first, (select count(*) from (select 1 {_BEFORE_IT} limit %(most)s) as those) as ahead
            from agent_commands c left join agents a using (agent_id)
            left join lateral (select (array_agg(f.command_id order by f.sent_at, f.seq))[1] as command_id,
                    count(*) as number
                from agent_commands f where f.agent_id = c.agent_id and f.status = 'sent'
                and (a.dialect <> 'silent' or f.session_id is not distinct from c.session_id)) as flight on true
            left join lateral (select f.command_id {_BEFORE_IT} order by f.priority desc, f.seq limit 1) as first on true
            where c.command_id = %(command_id)s
            """,
            {"command_id": command_id, "most": MOST},
        ).fetchone()
