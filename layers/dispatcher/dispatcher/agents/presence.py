"""Signs of life: which agents are online, and which connections may still be used."""

from collections.abc import Callable
from typing import Any

from psycopg.types.json import Jsonb

from dispatcher.agents import connections
from dispatcher.platform import settings
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Gateway
from dispatcher.platform.json_text import dumps
from dispatcher.platform.observability import logger

IDLE_SECONDS = 660
"""A connection that is silent for longer is dropped: one minute after the gateway should have closed it."""


def admit_message(conn: Connection, gateway: Gateway, agent_id: str, connection_id: str) -> bool:
    """Record a sign of life, and return whether a message on this connection counts.

    If it does not count, close the connection: the agent was rejected or deleted, or the key revoked, and an earlier attempt
    to close it failed.  A connection that exceeds the agents' rate is closed too, but what it said so far counts: the agent
    reconnects, and nothing is lost.
    """
    if not _hear(conn, agent_id, connection_id):
        logger.warning("Message refused", extra={"agent_id": agent_id, "connection_id": connection_id})
        gateway.close(connection_id)
        return False
    rate = settings.agent_rate()
    if rate and _count_message(conn, connection_id) > rate:
        logger.warning("Rate exceeded", extra={"agent_id": agent_id, "connection_id": connection_id, "rate": rate})
        gateway.close(connection_id)
    return True


def record_heartbeat(
    conn: Connection, agent_id: str, connection_id: str, *, capacity: Any = None, active_sessions: int | None = None
) -> bool:
    """Record a heartbeat; False if it comes over an older connection, which changes nothing.

    A connection that was dropped as idle, but still exists, becomes the agent's current connection again.
    """
    row = conn.execute(
        """
        update agents a
        set last_seen_at = now(),
            connection_id = %(connection_id)s,
            capacity = coalesce(%(capacity)s, a.capacity),
            active_sessions = coalesce(%(active_sessions)s, a.active_sessions)
        where a.agent_id = %(agent_id)s
          and (a.connection_id = %(connection_id)s
            or (a.connection_id is null
              and a.deleted_at is null
              and exists (
                select from agent_connections k
                where k.connection_id = %(connection_id)s
                  and k.agent_id = a.agent_id
                  and k.epoch = a.epoch)))
        returning a.agent_id
        """,
        {
            "agent_id": agent_id,
            "connection_id": connection_id,
            "capacity": None if capacity is None else Jsonb(capacity, dumps=dumps),
            "active_sessions": active_sessions,
        },
    ).fetchone()
    return row is not None


def record_disconnect(conn: Connection, agent_id: str, connection_id: str) -> None:
    """Forget only this connection: a late event of an older connection does not change the newer one."""
    with conn.transaction():
        conn.execute(
            "update agents set last_seen_at = now() where agent_id = %s and connection_id = %s",
            (agent_id, connection_id),
        )
        connections.forget(conn, agent_id, connection_id)
    logger.info("Agent disconnected", extra={"agent_id": agent_id, "connection_id": connection_id})


def drop_idle(conn: Connection, gateway: Gateway, limit: int, has_time: Callable[[], bool]) -> int:
    """Send no more commands to connections that have been silent for IDLE_SECONDS; return how many.

    They are closed while `has_time`.  Their $disconnect event may never come.  They stay in `agent_connections`: when a failure
    of ours lost all signs of life, the next heartbeat makes the connection current again.
    """
    dropped = conn.execute(
        """
        update agents a
        set connection_id = null
        from (
            select agent_id, connection_id
            from agents
            where connection_id is not null
              and last_seen_at < now() - %s * interval '1 second'
            limit %s
            for update skip locked) as idle
        where a.agent_id = idle.agent_id
        returning idle.agent_id, idle.connection_id
        """,
        (IDLE_SECONDS, limit),
    ).fetchall()
    for agent_id, connection_id in dropped:
        if has_time():
            gateway.close(connection_id)
        logger.warning("Connection idle", extra={"agent_id": agent_id, "connection_id": connection_id})
    return len(dropped)


def _hear(conn: Connection, agent_id: str, connection_id: str) -> bool:
    """Record a sign of life, once in 10 s; return whether the agent is approved and the connection's key is valid."""
    row = conn.execute(
        """
        with heard as (
            update agents
            set last_seen_at = now()
            where agent_id = %(agent_id)s
              and connection_id = %(connection_id)s
              and last_seen_at < now() - interval '10 seconds')
        select 1
        from agents a
        where a.agent_id = %(agent_id)s
          and a.approval = 'approved'
          and a.deleted_at is null
          and not exists (
            select 1
            from agent_connections c
            join agent_keys k using (key_id)
            where c.connection_id = %(connection_id)s
              and k.revoked_at is not null)
        """,
        {"agent_id": agent_id, "connection_id": connection_id},
    ).fetchone()
    return row is not None


def _count_message(conn: Connection, connection_id: str) -> int:
    """Count a message; return how many came over its connection in this minute."""
    row = conn.execute(
        """
        update agent_connections
        set minute = date_trunc('minute', now()),
            messages = case when minute = date_trunc('minute', now()) then messages + 1 else 1 end
        where connection_id = %s
        returning messages
        """,
        (connection_id,),
    ).fetchone()
    return row[0] if row else 0
