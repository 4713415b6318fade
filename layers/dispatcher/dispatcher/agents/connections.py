"""An agent's WebSocket connections.  Each has an epoch; commands go to the connection with the last one."""

from dataclasses import dataclass

from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import Handshake

LIFE_HOURS = 3
"""The longest life of a connection: the gateway closes each after 2 h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The address that a connection comes from, and the key that opened it."""

    key_id: str | None = None
    source_ip: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A connection that was recorded, and the older connections that it replaces."""

    epoch: int
    superseded: tuple[str, ...]


def record_opened(
    conn: Connection, agent_id: str, connection_id: str, handshake: Handshake, origin: Origin
) -> Opened | None:
    """Record a connection as the agent's current one; None if the agent may not have any.

    Call it in a transaction.  A worker that posts to the older connection loses its lease, and stops before its next post.
    Without a delivery mode the platform decides: docker-agents never
    acknowledge.
    """
    if origin.key_id and not _lock_key(conn, agent_id, origin.key_id):
        return None
    row = conn.execute(
        """
        update agents
        set epoch = epoch + 1,
            connection_id = %(connection_id)s,
            connected_at = now(),
            live = false,
            last_seen_at = now(),
            lease_token = null,
            lease_expires_at = null,
            throttled_until = null,
            dialect = coalesce(%(mode)s, case when platform = 'docker' then 'silent' else 'acknowledging' end),
            delivery_window = %(window)s
        where agent_id = %(agent_id)s
          and approval = 'approved'
          and deleted_at is null
        returning epoch
        """,
        {
            "agent_id": agent_id,
            "connection_id": connection_id,
            "mode": handshake.mode,
            "window": handshake.window,
        },
    ).fetchone()
    if row is None:
        return None
    (epoch,) = row
    # The gateway closed these long ago, and their $disconnect event was lost.
    conn.execute(
        "delete from agent_connections where agent_id = %s and connected_at < now() - %s * interval '1 hour'",
        (agent_id, LIFE_HOURS),
    )
    older = conn.execute(
        "select connection_id from agent_connections where agent_id = %s and connection_id <> %s order by epoch",
        (agent_id, connection_id),
    ).fetchall()
    # The $connect event may come twice.
    conn.execute(
        """
        insert into agent_connections (connection_id, agent_id, epoch, source_ip, key_id)
        values (%s, %s, %s, %s, %s)
        on conflict (connection_id) do update set epoch = excluded.epoch
        """,
        (connection_id, agent_id, epoch, origin.source_ip, origin.key_id),
    )
    return Opened(epoch=epoch, superseded=tuple(older_id for (older_id,) in older))


def _lock_key(conn: Connection, agent_id: str, key_id: str) -> bool:
    """Lock a key against revocation until this transaction ends; False if it is revoked already.

    A later revocation sees the new connection and closes it.
    """
    row = conn.execute(
        "select 1 from agent_keys where key_id::text = %s and agent_id = %s and revoked_at is null for share",
        (key_id, agent_id),
    ).fetchone()
    return row is not None


def mark_live(conn: Connection, agent_id: str, epoch: int) -> None:
    """Record that the handshake of a connection is over; changes nothing if a newer connection exists."""
    conn.execute("update agents set live = true where agent_id = %s and epoch = %s", (agent_id, epoch))


def is_current(conn: Connection, agent_id: str, epoch: int) -> bool:
    """Tell whether this epoch is the agent's last and its connection is known."""
    row = conn.execute(
        "select 1 from agents where agent_id = %s and epoch = %s and connection_id is not null", (agent_id, epoch)
    ).fetchone()
    return row is not None


def epoch_of(conn: Connection, connection_id: str, agent_id: str) -> int | None:
    """Return the epoch of one of the agent's connections; None for a connection that is forgotten already."""
    row = conn.execute(
        "select epoch from agent_connections where connection_id = %s and agent_id = %s", (connection_id, agent_id)
    ).fetchone()
    return row[0] if row else None


def open_ids(conn: Connection, agent_id: str, key_id: str | None = None) -> list[str]:
    """Return the ids of an agent's open connections, superseded ones too; with a key, only those it opened."""
    rows = conn.execute(
        """
        select connection_id
        from agent_connections
        where agent_id = %(agent_id)s
          and (%(key_id)s::text is null or key_id::text = %(key_id)s)
        """,
        {"agent_id": agent_id, "key_id": key_id},
    ).fetchall()
    return [connection_id for (connection_id,) in rows]


def forget(conn: Connection, agent_id: str, connection_id: str) -> None:
    """Forget this connection; the agent's current connection is forgotten only where it is this one."""
    conn.execute("delete from agent_connections where connection_id = %s", (connection_id,))
    conn.execute(
        "update agents set connection_id = null where agent_id = %s and connection_id = %s", (agent_id, connection_id)
    )


def forget_all(conn: Connection, agent_id: str) -> list[str]:
    """Forget all connections of an agent; return their ids."""
    rows = conn.execute(
        "delete from agent_connections where agent_id = %s returning connection_id", (agent_id,)
    ).fetchall()
    conn.execute(
        "update agents set connection_id = null, lease_token = null, lease_expires_at = null where agent_id = %s",
        (agent_id,),
    )
    return [connection_id for (connection_id,) in rows]


def stop_posting(conn: Connection, agent_id: str, key_id: str) -> None:
    """Send no more commands to a connection that this key opened, whether or not it can be closed."""
    conn.execute(
        """
        update agents
        set connection_id = null,
            lease_token = null,
            lease_expires_at = null
        where agent_id = %(agent_id)s
          and connection_id in (
            select connection_id
            from agent_connections
            where agent_id = %(agent_id)s
              and key_id::text = %(key_id)s)
        """,
        {"agent_id": agent_id, "key_id": key_id},
    )
