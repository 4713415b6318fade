"""Connections and their epochs: the last one to connect is the one that commands go to."""

from dataclasses import dataclass

from dispatcher.commands.model import Dialect
from dispatcher.platform.database import Connection
from dispatcher.store.clocks import release_superseded

LIFE_HOURS = 3
"""No connection is older: the gateway cuts each after 2 h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a connection comes from, and the key that opened it."""

    key_id: str | None = None
    source_ip: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A connection that was recorded, and the sockets that it supersedes."""

    epoch: int
    superseded: tuple[str, ...]


def open_connection(
    conn: Connection, agent_id: str, connection_id: str, *, dialect: Dialect | None, window: int, origin: Origin
) -> Opened | None:
    """Record a connection as the agent's current one; None where the agent may not have any.

    The new epoch ends the lease of whoever is posting to the older connection: its settlement touches nothing that is
    claimed from now on.  What was sent there and not acknowledged goes back to the queue, in order.  Without a dialect, the
    platform tells: docker-agents never acknowledge.
    """
    with conn.transaction():
        if origin.key_id and not _hold_key(conn, agent_id, origin.key_id):
            return None
        row = conn.execute(
            """
            update agents set epoch = epoch + 1, connection_id = %(connection_id)s, connected_at = now(), live = false,
                last_seen_at = now(), lease_token = null, lease_expires_at = null, throttled_until = null,
                dialect = coalesce(%(dialect)s, case when platform = 'docker' then 'silent' else 'acknowledging' end),
                delivery_window = %(window)s
            where agent_id = %(agent_id)s and approval = 'approved' and deleted_at is null
            returning epoch
            """,
            {"agent_id": agent_id, "connection_id": connection_id, "dialect": dialect, "window": window},
        ).fetchone()
        if row is None:
            return None
        epoch: int = row[0]
        # The gateway cut these long ago, and their $disconnect was lost.
        conn.execute(
            "delete from agent_connections where agent_id = %s and connected_at < now() - %s * interval '1 hour'",
            (agent_id, LIFE_HOURS),
        )
        older = conn.execute(
            "select connection_id from agent_connections where agent_id = %s and connection_id <> %s order by epoch",
            (agent_id, connection_id),
        ).fetchall()
        # The event may come twice.
        conn.execute(
            """insert into agent_connections (connection_id, agent_id, epoch, source_ip, key_id) values (%s, %s, %s, %s, %s)
               on conflict (connection_id) do update set epoch = excluded.epoch""",
            (connection_id, agent_id, epoch, origin.source_ip, origin.key_id),
        )
        release_superseded(conn, agent_id, epoch)
    return Opened(epoch=epoch, superseded=tuple(connection_id for (connection_id,) in older))


def _hold_key(conn: Connection, agent_id: str, key_id: str) -> bool:
    """Keep a key from being revoked until this transaction ends; False where that has happened.

    Who revokes it afterwards sees the connection, and closes it.
    """
    row = conn.execute(
        """select 1 from agent_keys where key_id::text = %s and agent_id = %s and revoked_at is null for share""",
        (key_id, agent_id),
    ).fetchone()
    return row is not None


def may_speak(conn: Connection, agent_id: str, connection_id: str) -> bool:
    """Tell whether what comes over a connection counts: its key is not revoked, its agent neither rejected nor deleted.

    Whatever it is, it is a sign of life; one in 10 s is noted.
    """
    row = conn.execute(
        """with heard as (update agents set last_seen_at = now() where agent_id = %(agent_id)s
               and connection_id = %(connection_id)s and last_seen_at < now() - interval '10 seconds')
           select 1 from agents a where a.agent_id = %(agent_id)s and a.approval = 'approved' and a.deleted_at is null
           and not exists (select 1 from agent_connections c join agent_keys k using (key_id)
               where c.connection_id = %(connection_id)s and k.revoked_at is not null)""",
        {"agent_id": agent_id, "connection_id": connection_id},
    ).fetchone()
    return row is not None


def forget_opened_with(conn: Connection, agent_id: str, key_id: str) -> None:
    """Post no more to a connection that was opened with a key, whether or not its socket can be closed."""
    conn.execute(
        """update agents set connection_id = null where agent_id = %(agent_id)s and connection_id in (
               select connection_id from agent_connections where agent_id = %(agent_id)s and key_id::text = %(key_id)s)""",
        {"agent_id": agent_id, "key_id": key_id},
    )


def note_closed(conn: Connection, connection_id: str) -> None:
    """Note that an agent's current connection was there until now."""
    conn.execute("update agents set last_seen_at = now() where connection_id = %s", (connection_id,))


def count_message(conn: Connection, connection_id: str) -> int:
    """Count a message; return how many came over its connection in this minute."""
    row = conn.execute(
        """update agent_connections set minute = date_trunc('minute', now()),
               messages = case when minute = date_trunc('minute', now()) then messages + 1 else 1 end
           where connection_id = %s returning messages""",
        (connection_id,),
    ).fetchone()
    return row[0] if row else 0


def mark_live(conn: Connection, agent_id: str, epoch: int) -> None:
    """Note that the handshake of an agent's connection is over; nothing where a newer connection is there."""
    conn.execute("update agents set live = true where agent_id = %s and epoch = %s", (agent_id, epoch))


def is_current(conn: Connection, agent_id: str, epoch: int) -> bool:
    """Tell whether this epoch is still the agent's last."""
    row = conn.execute(
        "select 1 from agents where agent_id = %s and epoch = %s and connection_id is not null", (agent_id, epoch)
    ).fetchone()
    return row is not None


def forget_absent(conn: Connection, absent_seconds: int, limit: int) -> list[tuple[str, str]]:
    """Let no commands go to connections that have been silent for long; return their agents and sockets.

    The gateway cuts an idle connection after 10 minutes, and its $disconnect may never come.  Which connection it was stays
    known: after a failure of ours that lost all signs of life, the next one brings it back.
    """
    gone = conn.execute(
        """
        update agents a set connection_id = null from (
            select agent_id, connection_id from agents
            where connection_id is not null and last_seen_at < now() - %s * interval '1 second'
            limit %s for update skip locked) as absent
        where a.agent_id = absent.agent_id
        returning absent.agent_id, absent.connection_id
        """,
        (absent_seconds, limit),
    ).fetchall()
    return [(agent_id, connection_id) for agent_id, connection_id in gone]
