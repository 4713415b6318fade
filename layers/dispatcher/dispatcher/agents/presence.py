"""Connections that the service ends: those that are silent, and old ones of agents that do not move by themselves."""

import time
from collections.abc import Callable

from dispatcher.agents.registry import OFFLINE_HEARTBEATS
from dispatcher.platform import settings
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Gateway
from dispatcher.platform.observability import logger

IDLE_SECONDS = 660
"""A connection that is silent for longer is dropped: one minute after the gateway should have closed it."""
MOVE_AFTER_SECONDS = 6300
"""The age at which a connection is moved: 15 minutes before the gateway cuts it after 2 h."""
QUIET_SECONDS = (10.0, 20.0)
"""How long after an agent's last message its connection is moved: StreamSpace's k8s-agent goes mute for ever if its connection
ends while it writes a heartbeat, which it does each 30 s; 2 h are exactly 240 heartbeats."""


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


def tell_silence(conn: Connection, limit: int) -> int:
    """Write an event for each connected agent that has become offline by its silence, or is heard again; return how many.

    The first one is `offline` and the second one `connected`, so that the last event tells the agent's presence.
    """
    silent_after = OFFLINE_HEARTBEATS * settings.heartbeat_seconds()
    return conn.execute(
        """
        with silent as materialized (
            select a.agent_id, a.incarnation
            from agents a
            where a.connection_id is not null
              and a.last_seen_at < now() - %(silent_after)s * interval '1 second'
              and (
                select e.type
                from agent_events e
                where e.agent_id = a.agent_id
                order by e.number desc
                limit 1) is distinct from 'offline'
            limit %(limit)s
        ), heard as materialized (
            select a.agent_id, a.incarnation
            from agent_events o
            join agents a on a.agent_id = o.agent_id
            where o.type = 'offline'
              and o.at > now() - %(idle)s * interval '1 second' - interval '5 minutes'  -- then it was dropped
              and a.connection_id is not null
              and a.last_seen_at >= now() - %(silent_after)s * interval '1 second'
              and o.number = (
                select e.number
                from agent_events e
                where e.agent_id = a.agent_id
                order by e.number desc
                limit 1)
        ), told as (
            select agent_id, incarnation, 'offline' as type, 'silent for ' || %(silent_after)s || ' seconds' as cause
            from silent
            union all
            select agent_id, incarnation, 'connected', 'heard again'
            from heard
        )
        select agent_event(agent_id, incarnation, type, cause) from told
        """,
        {"silent_after": silent_after, "idle": IDLE_SECONDS, "limit": limit},
    ).rowcount


def move_old(conn: Connection, gateway: Gateway, limit: int, has_time: Callable[[], bool]) -> int:
    """Close old connections of agents of the first protocol, each between two heartbeats; return how many.

    Agents of protocol 2 move by themselves (`welcome`).  An agent that reported something meanwhile waits for the next sweep.
    """
    earliest, latest = QUIET_SECONDS
    candidates = conn.execute(
        """
        select agent_id, connection_id, greatest(0, %(earliest)s - silent) as wait
        from agents, lateral (select extract(epoch from now() - last_seen_at)::float8 as silent) as since
        where connection_id is not null
          and dialect <> 'batching'
          and connected_at < now() - %(age)s * interval '1 second'
          and silent <= %(latest)s
        order by wait
        limit %(limit)s
        """,
        {"earliest": earliest, "latest": latest, "age": MOVE_AFTER_SECONDS, "limit": limit},
    ).fetchall()
    began = time.monotonic()
    moved = 0
    for agent_id, connection_id, wait in candidates:
        # The sweep and the heartbeats may be in step, so the sweep waits for the quiet time of each connection.
        time.sleep(max(0.0, began + wait - time.monotonic()))
        if not has_time():
            break
        gateway.close(connection_id)
        moved += 1
        logger.info("Connection moved", extra={"agent_id": agent_id, "connection_id": connection_id})
    return moved
