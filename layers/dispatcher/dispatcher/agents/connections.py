"""An agent's WebSocket connections.  Each has an epoch; commands go to the connection with the last one."""

from dataclasses import dataclass

from dispatcher.platform.database import Connection
from dispatcher.platform.functions import call
from dispatcher.platform.gateway import Gateway
from dispatcher.platform.hot_statements import HotStatement
from dispatcher.platform.observability import logger
from dispatcher.protocol.handshake import DeliveryMode, Handshake


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The address that a connection comes from, and the key that opened it."""

    key_id: str | None = None
    source_ip: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A connection that was recorded."""

    epoch: int
    mode: DeliveryMode
    superseded: tuple[str, ...]
    """The older connections that it replaces."""
    may_have_arrived: bool
    """Whether some of the agent's next commands may have gone out over an older connection, so that the agent can say if they
    arrived.  False is sure."""


_CONNECT = HotStatement(
    call(
        "select * from {f}.connect(%(agent_id)s, %(connection_id)s, %(key_id)s, %(source_ip)s, %(mode)s,"
        " %(window)s, %(patience)s)"
    )
)

_IS_LIVE = HotStatement(b"select 1 from agents where agent_id = %(agent_id)s and epoch = %(epoch)s and live")

PATIENCE_SECONDS = 5.0
"""How long a caller that does not say otherwise waits for the record of a connection."""


def open_connection(
    conn: Connection,
    agent_id: str,
    connection_id: str,
    *,
    handshake: Handshake,
    origin: Origin,
    patience: float = PATIENCE_SECONDS,
) -> Opened | None:
    """Record a new connection; None if the agent may not connect.

    Commands that were sent over an older connection and not acknowledged return to the queue, in order.  After `patience`
    seconds nothing is recorded any more.
    """
    rows = _CONNECT.fetch(
        conn,
        {
            "agent_id": agent_id,
            "connection_id": connection_id,
            "key_id": origin.key_id,
            "source_ip": origin.source_ip,
            "mode": handshake.mode,
            "window": handshake.window,
            "patience": patience,
        },
    )
    if not rows:
        logger.warning("Connection refused", extra={"agent_id": agent_id})
        return None
    epoch, mode, superseded, may_have_arrived = rows[0]
    logger.info("Agent connected", extra={"agent_id": agent_id, "epoch": epoch, "connection_id": connection_id})
    return Opened(epoch=epoch, mode=DeliveryMode(mode), superseded=tuple(superseded), may_have_arrived=may_have_arrived)


def close_superseded(gateway: Gateway, opened: Opened) -> None:
    """Close the older connections of an agent, when the new one is recorded."""
    for connection_id in opened.superseded:
        gateway.close(connection_id)


def is_current(conn: Connection, agent_id: str, epoch: int) -> bool:
    """Tell whether this epoch is the agent's last and its connection is known."""
    row = conn.execute(
        "select 1 from agents where agent_id = %s and epoch = %s and connection_id is not null", (agent_id, epoch)
    ).fetchone()
    return row is not None


def is_live(conn: Connection, agent_id: str, epoch: int) -> bool:
    """Tell whether this epoch is the agent's last, and its handshake is known to be over."""
    return bool(_IS_LIVE.fetch(conn, {"agent_id": agent_id, "epoch": epoch}))


def open_ids(conn: Connection, agent_id: str, key_id: str | None = None) -> list[str]:
    """Return the ids of an agent's open connections, superseded ones too; with a key, only those it opened."""
    rows = conn.execute(
        """
        select connection_id
        from agent_connections
        where agent_id = %(agent_id)s
          and closed_at is null
          and (%(key_id)s::text is null or key_id::text = %(key_id)s)
        """,
        {"agent_id": agent_id, "key_id": key_id},
    ).fetchall()
    return [connection_id for (connection_id,) in rows]


def forget(conn: Connection, agent_id: str, connection_id: str) -> None:
    """Close the record of this connection; the agent has none any more only where it is the current one.

    So a late event of an older connection does not change the newer one.
    """
    conn.execute(
        """
        with forgotten as (
            update agent_connections
            set closed_at = now()
            where connection_id = %(connection_id)s)
        update agents
        set connection_id = null,
            last_seen_at = now()
        where agent_id = %(agent_id)s
          and connection_id = %(connection_id)s
        """,
        {"agent_id": agent_id, "connection_id": connection_id},
    )


def forget_all(conn: Connection, agent_id: str) -> list[str]:
    """Forget all connections of an agent; return the ids of the open ones."""
    rows = conn.execute(
        "delete from agent_connections where agent_id = %s returning connection_id, closed_at is null", (agent_id,)
    ).fetchall()
    conn.execute(
        "update agents set connection_id = null, lease_token = null, lease_expires_at = null where agent_id = %s",
        (agent_id,),
    )
    return [connection_id for connection_id, is_open in rows if is_open]


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
