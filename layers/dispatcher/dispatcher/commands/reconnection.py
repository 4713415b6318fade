"""An agent connects: its connection is recorded, and what the older ones did not acknowledge returns to the queue."""

from dispatcher.agents import connections
from dispatcher.agents.connections import Origin
from dispatcher.commands import redelivery
from dispatcher.commands.flush import FlushRequest
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Gateway
from dispatcher.platform.observability import logger
from dispatcher.protocol.handshake import Handshake


def record_connection(
    conn: Connection, gateway: Gateway, agent_id: str, connection_id: str, *, handshake: Handshake, origin: Origin
) -> FlushRequest | None:
    """Record a new connection and close the older ones; None if the agent may not connect.

    Commands that were sent over an older connection and not acknowledged return to the queue, in order.
    """
    with conn.transaction():
        opened = connections.record_opened(conn, agent_id, connection_id, handshake, origin)
        if opened is not None:
            redelivery.return_superseded(conn, agent_id, opened.epoch)
    if opened is None:
        logger.warning("Connection refused", extra={"agent_id": agent_id})
        return None
    logger.info("Agent connected", extra={"agent_id": agent_id, "epoch": opened.epoch, "connection_id": connection_id})
    for superseded in opened.superseded:
        gateway.close(superseded)
    return FlushRequest(agent_id=agent_id, connection_id=connection_id, epoch=opened.epoch)
