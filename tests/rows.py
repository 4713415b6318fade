"""Rows as tests want them, put in as an operator with psql does."""

from typing import Any

import psycopg
from psycopg import sql

from dispatcher.agents import connections
from dispatcher.agents.connections import Origin
from dispatcher.commands import flush, reports
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode, Handshake
from dispatcher.sessions.session_records import SessionStates
from tests.fakes import FakeGateway


def provide(conn: Connection, agent_id: str = "a1", platform: str = "kubernetes") -> None:
    """Provide an agent."""
    conn.execute("insert into agents (agent_id, platform) values (%s, %s)", (agent_id, platform))


def connect(
    conn: Connection,
    agent_id: str = "a1",
    connection_id: str = "c1",
    *,
    mode: DeliveryMode | None = None,
    window: int = 1,
) -> int:
    """Connect an agent, to the end of its handshake, and return the epoch."""
    recorded = flush.record_connection(
        conn,
        FakeGateway(),
        agent_id,
        connection_id,
        handshake=Handshake(mode=mode, window=window),
        origin=Origin(),
    )
    assert recorded is not None
    connections.mark_live(conn, agent_id, recorded.epoch)
    return recorded.epoch


def receive(conn: Connection, agent_id: str, connection_id: str, text: str) -> bool:
    """Receive an agent's message, as the function `message` does."""
    return reports.receive(conn, agent_id, connection_id, text, SessionStates())


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
