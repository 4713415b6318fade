"""Agents, their keys, and their presence."""

from collections.abc import Mapping
from typing import Any

from psycopg.rows import kwargs_row
from psycopg.types.json import Jsonb

from dispatcher.commands.model import Agent
from dispatcher.platform.database import Connection
from dispatcher.platform.json_text import dumps, storable
from dispatcher.store import scopes
from dispatcher.store.scopes import Scope

# Online: seen within two heartbeats of 30 s and some, so that one lost heartbeat flaps nothing.  Degraded: its socket
# stands, but it has been silent for up to five.
_PRESENCE = """case when a.connection_id is null then 'offline'
    when a.last_seen_at > now() - interval '75 seconds' then 'online'
    when a.last_seen_at > now() - interval '150 seconds' then 'degraded'
    else 'offline' end"""
_COLUMNS = f"""a.agent_id, a.platform, a.region, a.labels, a.capacity, a.metadata, a.approval, a.created_at, a.registered_at,
    {_PRESENCE} as presence, a.connected_at, a.last_seen_at, a.active_sessions"""


def insert(
    conn: Connection, *, agent_id: str, platform: str, region: str | None, labels: Mapping[str, str], approval: str
) -> Agent | None:
    """Provide an agent; None where the id is taken.  An id that was deleted comes back to life."""
    with conn.cursor(row_factory=kwargs_row(Agent)) as cursor:
        return cursor.execute(
            f"""
            insert into agents as a (agent_id, platform, region, labels, approval) values (%s, %s, %s, %s, %s)
            on conflict (agent_id) do update set platform = excluded.platform, region = excluded.region,
                labels = excluded.labels, approval = excluded.approval, deleted_at = null where a.deleted_at is not null
            returning {_COLUMNS}
            """,
            (agent_id, platform, region, Jsonb(dict(labels)), approval),
        ).fetchone()


def get(conn: Connection, agent_id: str, scope: Scope = None) -> Agent | None:
    """Read one agent."""
    with conn.cursor(row_factory=kwargs_row(Agent)) as cursor:
        return cursor.execute(
            f"select {_COLUMNS} from agents a where a.agent_id = %(agent_id)s and a.deleted_at is null and {scopes.AGENT}",
            {"agent_id": agent_id, "scope": scopes.as_parameter(scope)},
        ).fetchone()


def list_page(conn: Connection, *, scope: Scope, after: str | None, limit: int) -> list[Agent]:
    """Read a page of agents in the order of their ids."""
    with conn.cursor(row_factory=kwargs_row(Agent)) as cursor:
        return cursor.execute(
            f"""select {_COLUMNS} from agents a
                where a.deleted_at is null and (%(after)s::text is null or a.agent_id > %(after)s)
                  and {scopes.AGENT}
                order by a.agent_id limit %(limit)s""",
            {"scope": scopes.as_parameter(scope), "after": after, "limit": limit},
        ).fetchall()


def choose_for_session(conn: Connection, scope: Scope) -> str | None:
    """Choose the agent for a new session: connected before away, then the one with the fewest sessions."""
    row = conn.execute(
        f"""
        select a.agent_id from agents a
        where a.deleted_at is null and a.approval = 'approved' and {scopes.AGENT}
        order by a.connection_id is null, (select count(*) from sessions s where s.agent_id = a.agent_id
            and s.state not in ('terminated', 'failed')), a.last_seen_at desc nulls last, a.agent_id
        limit 1
        """,
        {"scope": scopes.as_parameter(scope)},
    ).fetchone()
    return row[0] if row else None


def register(
    conn: Connection, agent_id: str, *, platform: str, region: str | None, capacity: Any, metadata: Any
) -> Agent | None:
    """Record what an agent says of itself at registration."""
    with conn.cursor(row_factory=kwargs_row(Agent)) as cursor:
        return cursor.execute(
            f"""
            update agents a set platform = %s, region = coalesce(%s, a.region), capacity = %s, metadata = %s,
                registered_at = now()
            where a.agent_id = %s and a.deleted_at is null returning {_COLUMNS}
            """,
            (
                platform,
                region,
                Jsonb(storable(capacity), dumps=dumps),
                Jsonb(storable(metadata), dumps=dumps),
                agent_id,
            ),
        ).fetchone()


def decide(conn: Connection, agent_id: str, approval: str) -> None:
    """Approve or reject an agent."""
    conn.execute("update agents set approval = %s where agent_id = %s and deleted_at is null", (approval, agent_id))


def delete(conn: Connection, agent_id: str) -> list[str]:
    """Delete an agent: its keys are revoked, its commands and their history stay.  Return its open connections."""
    with conn.transaction():
        conn.execute(
            """update agents set deleted_at = now(), approval = 'rejected', connection_id = null
               where agent_id = %s and deleted_at is null""",
            (agent_id,),
        )
        conn.execute("update agent_keys set revoked_at = now() where agent_id = %s and revoked_at is null", (agent_id,))
        return [
            connection_id
            for (connection_id,) in conn.execute(
                "delete from agent_connections where agent_id = %s returning connection_id", (agent_id,)
            ).fetchall()
        ]


def hold(conn: Connection, agent_id: str) -> None:
    """Keep others from changing an agent until this transaction ends."""
    conn.execute("select from agents where agent_id = %s for no key update", (agent_id,))


def open_connections(conn: Connection, agent_id: str, key_id: str | None = None) -> list[str]:
    """List an agent's open sockets, the superseded ones too; with a key, those that were opened with it."""
    return [
        row[0]
        for row in conn.execute(
            """select connection_id from agent_connections
               where agent_id = %(agent_id)s and (%(key_id)s::text is null or key_id::text = %(key_id)s)""",
            {"agent_id": agent_id, "key_id": key_id},
        ).fetchall()
    ]


def seen(
    conn: Connection, agent_id: str, connection_id: str, *, capacity: Any = None, active_sessions: int | None = None
) -> bool:
    """Record a sign of life; only the agent's last connection counts.

    One that was forgotten for its silence, and whose socket stands all the same, is the agent's route again.
    """
    row = conn.execute(
        """update agents a set last_seen_at = now(), connection_id = %(connection_id)s,
               capacity = coalesce(%(capacity)s, a.capacity),
               active_sessions = coalesce(%(active_sessions)s, a.active_sessions)
           where a.agent_id = %(agent_id)s and (a.connection_id = %(connection_id)s
               or (a.connection_id is null and a.deleted_at is null and exists (
                   select from agent_connections k where k.connection_id = %(connection_id)s
                       and k.agent_id = a.agent_id and k.epoch = a.epoch)))
           returning a.agent_id""",
        {
            "agent_id": agent_id,
            "connection_id": connection_id,
            "capacity": None if capacity is None else Jsonb(storable(capacity), dumps=dumps),
            "active_sessions": active_sessions,
        },
    ).fetchone()
    return row is not None


def epoch_of(conn: Connection, connection_id: str, agent_id: str) -> int | None:
    """Tell which of the agent's connections this is; None for one that is forgotten already."""
    row = conn.execute(
        "select epoch from agent_connections where connection_id = %s and agent_id = %s", (connection_id, agent_id)
    ).fetchone()
    return row[0] if row else None
