"""Connections: which ones are stored, and for how long."""

from dispatcher.platform.database import Connection
from tests.rows import connect, create_agent


def test_connections_whose_disconnect_was_lost_are_forgotten_after_some_hours(conn: Connection) -> None:
    """The gateway closed them after 2 h; each one that is kept costs every handshake one call."""
    create_agent(conn)
    for number in range(3):
        connect(conn, connection_id=f"old{number}")
    conn.execute("update agent_connections set connected_at = now() - interval '4 hours'")
    connect(conn, connection_id="c1")

    rows = conn.execute("select connection_id from agent_connections").fetchall()

    assert rows == [("c1",)]
