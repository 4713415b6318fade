"""Rows as tests want them, put in as an operator with psql does."""

from typing import Any

import psycopg
from psycopg import sql

from dispatcher.commands.model import Dialect
from dispatcher.platform.database import Connection
from dispatcher.store import connections
from dispatcher.store.connections import Origin


def provide(conn: Connection, agent_id: str = "a1", platform: str = "kubernetes") -> None:
    """Provide an agent."""
    conn.execute("insert into agents (agent_id, platform) values (%s, %s)", (agent_id, platform))


def connect(
    conn: Connection,
    agent_id: str = "a1",
    connection_id: str = "c1",
    *,
    dialect: Dialect | None = None,
    window: int = 1,
) -> int:
    """Connect an agent, to the end of its handshake, and return the epoch."""
    opened = connections.open_connection(conn, agent_id, connection_id, dialect=dialect, window=window, origin=Origin())
    assert opened is not None
    connections.mark_live(conn, agent_id, opened.epoch)
    return opened.epoch


def put(conn: psycopg.Connection[Any], command_id: str, agent_id: str = "a1", **columns: object) -> None:
    """Insert a command; only four columns have a value, unless others are given."""
    columns = {"command_id": command_id, "agent_id": agent_id, "action": "noop", "payload": "{}", **columns}
    statement = sql.SQL("insert into agent_commands ({}) values ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join([sql.Placeholder()] * len(columns))
    )
    conn.execute(statement, list(columns.values()))


def statuses(conn: Connection) -> dict[str, str]:
    """Read each command's status, in the order of acceptance."""
    return dict(conn.execute("select command_id, status from agent_commands order by seq").fetchall())
