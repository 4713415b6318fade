"""Helpers that insert rows, as an operator with psql does, and that play agents' messages."""

import json
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from dispatcher.access import credentials
from dispatcher.access.roles import Role
from dispatcher.agents import connections
from dispatcher.agents.connections import Origin
from dispatcher.commands import command_records, reports
from dispatcher.commands.command_records import Command
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode, Handshake
from dispatcher.protocol.said import Said
from dispatcher.sessions import session_records
from dispatcher.sessions.session_records import SessionStates

PAST = "2020-01-01"
FUTURE = "2999-01-01"


def create_agent(conn: Connection, agent_id: str = "a1", platform: str = "kubernetes") -> None:
    """Create an agent."""
    conn.execute("insert into agents (agent_id, platform) values (%s, %s)", (agent_id, platform))


def connect(
    conn: Connection,
    agent_id: str = "a1",
    connection_id: str = "c1",
    *,
    mode: DeliveryMode | None = None,
    window: int = 1,
) -> int:
    """Connect an agent, finish its handshake without a claim, and return the epoch."""
    opened = connections.open_connection(
        conn,
        agent_id,
        connection_id,
        handshake=Handshake(mode=mode, window=window),
        origin=Origin(),
    )
    assert opened is not None
    conn.execute("update agents set live = true where agent_id = %s", (agent_id,))
    return opened.epoch


def connect_new_agent(
    conn: Connection,
    agent_id: str = "a1",
    connection_id: str = "c1",
    *,
    platform: str = "kubernetes",
    mode: DeliveryMode | None = None,
    window: int = 1,
) -> int:
    """Create an agent, connect it, and return the epoch."""
    create_agent(conn, agent_id, platform)
    return connect(conn, agent_id, connection_id, mode=mode, window=window)


def current_connection(conn: Connection, agent_id: str = "a1") -> str | None:
    """Read the id of the connection that the agent's commands go to."""
    row = conn.execute("select connection_id from agents where agent_id = %s", (agent_id,)).fetchone()
    assert row is not None
    connection_id: str | None = row[0]
    return connection_id


def put(conn: psycopg.Connection[Any], command_id: str, agent_id: str = "a1", **columns: object) -> None:
    """Insert a command; only four columns have a value, unless others are given."""
    columns = {"command_id": command_id, "agent_id": agent_id, "action": "noop", "payload": "{}", **columns}
    statement = sql.SQL("insert into agent_commands ({}) values ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join([sql.Placeholder()] * len(columns))
    )
    conn.execute(statement, list(columns.values()))


def put_session(conn: Connection, name: str, agent_id: str = "a1") -> None:
    """Insert a session of an agent."""
    session_records.insert(
        conn, name=name, agent_id=agent_id, owner="u", template="t", resources={}, persistent_home=False
    )


def find(conn: Connection, command_id: str = "k1") -> Command:
    """Read a command."""
    return command_records.find(conn, command_id, None)


def statuses(conn: Connection) -> dict[str, str]:
    """Read each command's status, in the order of acceptance."""
    return dict(conn.execute("select command_id, status from agent_commands order by seq").fetchall())


def move_into_past(conn: Connection, column: str) -> None:
    """Move a deadline into the past for every command that has it."""
    statement = sql.SQL("update agent_commands set {0} = now() - interval '1 s' where {0} is not null")
    conn.execute(statement.format(sql.Identifier(column)))


def waits_for_lock(conn: Connection, other: Connection) -> bool:
    """Tell whether another session waits for a lock."""
    row = conn.execute(
        "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s", (other.info.backend_pid,)
    ).fetchone()
    return row is not None and row[0] is True


def interrupt_once(conn: Connection, table: str, code: str) -> None:
    """Make the database fail the next update of a table, as a deadlock or a failover does."""
    conn.execute("create sequence tries")
    conn.execute(
        f"""create function interrupt() returns trigger language plpgsql as $$ begin
            if nextval('tries') = 1 then raise exception 'interrupted' using errcode = '{code}'; end if;
            return new; end $$""".encode()
    )
    conn.execute(
        f"create trigger interrupt before update on {table} for each row execute function interrupt()".encode()
    )


def receive(conn: Connection, agent_id: str, connection_id: str, text: str) -> bool:
    """Receive an agent's message, as the function `message` does, without a delivery; return whether something moved."""
    said = Said(agent_id=agent_id, connection_id=connection_id, text=text)
    received = reports.receive(conn, said, SessionStates(), claim=False)
    return received.moved > 0 or received.alive


def say(conn: Connection, kind: str, agent_id: str = "a1", connection_id: str = "c1", **fields: Any) -> bool:
    """Receive a message of an agent that speaks the first protocol."""
    return receive(conn, agent_id, connection_id, json.dumps({"type": kind, "payload": fields}))


def answer_session(conn: Connection, session_id: str, connection_id: str = "c1", **fields: Any) -> bool:
    """Receive a docker-agent's answer, which names only the session."""
    answer = {"type": "command_response", "sessionId": session_id, "success": True, **fields}
    return receive(conn, "a1", connection_id, json.dumps(answer))


def report(conn: Connection, *reports: dict[str, Any], agent_id: str = "a1", connection_id: str = "c1") -> bool:
    """Receive a message of an agent that speaks the second protocol."""
    return receive(conn, agent_id, connection_id, json.dumps({"type": "reports", "reports": reports}))


def report_of(kind: str, command_id: str = "k1", attempt: int = 1, **fields: Any) -> dict[str, Any]:
    """Return one report of the second protocol."""
    return {"kind": kind, "commandId": command_id, "attempt": attempt, **fields}


def create_operator(
    conn: Connection, username: str, password: str, role: Role, labels: dict[str, str] | None = None
) -> None:
    """Create an operator with any name, as before names had a form."""
    conn.execute(
        "insert into operators (username, password_hash, role, labels) values (%s, %s, %s, %s)",
        (username, credentials.password_hash(password), role, None if labels is None else Jsonb(labels)),
    )
