"""One row that is odd stops no other: NULL wherever the tables allow it, payloads of every JSON type, unknown statuses."""

import json
from decimal import Decimal
from typing import Any

import pytest
from psycopg import sql

from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from dispatcher.sessions import session_records
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, create_agent, put, receive, statuses
from tests.simulation.clock import Shift
from tests.simulation.columns import nullable

TOLD_NULLABLE = ["status", "created_at", "priority", "execution_timeout", "max_attempts", "attempt", "cause"]
"""Not nullable; but whoever inserts may put NULL there, and gets the default."""
PAYLOADS: dict[str, str | None] = {
    "object": '{"a": 1}',
    "empty object": "{}",
    "array": '[1, "a", null]',
    "empty array": "[]",
    "string": '"text"',
    "empty string": '""',
    "newlines": '"a\\nb\\r\\n"',
    "integer": "7",
    "large integer": "12345678901234567890123",
    "large number": "1e400",
    "fraction": "-0.10",
    "true": "true",
    "false": "false",
    "null": "null",
    "NULL": None,
    "deep": "[" * 500 + "]" * 500,
}
MANNERS = {
    "acknowledging": (None, "kubernetes"),
    "silent": (None, "docker"),
    "batching": (DeliveryMode.BATCHING, "kubernetes"),
}
SWEEPS = 2


def provide_connected(conn: Connection, manner: str) -> None:
    """Provide an agent of a manner, connected, with room for everything."""
    dialect, platform = MANNERS[manner]
    create_agent(conn, platform=platform)
    connect(conn, mode=dialect, window=100)


def delivered(gateway: FakeGateway) -> dict[str, Any]:
    """Read the payload with which each command reached its agent, in order; numbers keep their digits."""
    found: dict[str, Any] = {}
    for _, frame in gateway.frames:
        message = json.loads(frame, parse_int=Decimal, parse_float=Decimal)
        commands = message["commands"] if message["type"] == "commands" else [message["payload"]]
        found |= {each["commandId"]: each["payload"] for each in commands}
    return found


def sweep_twice(conn: Connection, gateway: FakeGateway) -> None:
    """Let two sweeps pass, a minute from each other."""
    shift = Shift(conn)
    for _ in range(SWEEPS):
        shift.apply(conn, 61)
        assert sweep(conn, gateway, deadline=plenty).failed_passes == 0


@pytest.mark.parametrize("manner", MANNERS)
def test_null_in_each_nullable_column_of_a_command_stops_nobody(conn: Connection, manner: str) -> None:
    """The columns are those that the database names: one that is added later is tested as well."""
    provide_connected(conn, manner)
    names = [*nullable(conn, "agent_commands"), *TOLD_NULLABLE]
    for name in names:
        columns: dict[str, Any] = {"session_id": f"s-{name}", name: None}
        put(conn, f"null-{name}", **columns)
        put(conn, f"after-{name}", session_id=f"s-after-{name}")
    gateway = FakeGateway()

    sweep_twice(conn, gateway)

    assert {"error_message", "session_id", "payload", "sent_at"} <= set(names)
    assert list(delivered(gateway)) == [f"{when}-{name}" for name in names for when in ("null", "after")]


def test_a_row_of_nothing_but_null_is_delivered(conn: Connection) -> None:
    """Only what names the command, its agent and its action has a value."""
    provide_connected(conn, "acknowledging")
    names = [*nullable(conn, "agent_commands"), *TOLD_NULLABLE]
    columns: dict[str, Any] = dict.fromkeys(names)
    put(conn, "k1", **columns)
    gateway = FakeGateway()

    sweep_twice(conn, gateway)

    assert delivered(gateway) == {"k1": {}}


@pytest.mark.parametrize("table", ["agents", "agent_connections", "sessions", "agent_keys"])
def test_null_in_each_nullable_column_of_another_table_stops_nobody(conn: Connection, table: str) -> None:
    """Another agent's row, another one's session: each column in turn becomes NULL, if the constraints allow it."""
    for agent_id in ("a1", "a2"):
        create_agent(conn, agent_id)
        connect(conn, agent_id, f"c-{agent_id}", window=100)
        session_records.insert(
            conn, name=f"s-{agent_id}", agent_id=agent_id, owner="u", template="t", resources={}, persistent_home=False
        )
        conn.execute(
            "insert into agent_keys (agent_id, key_hash) values (%s, sha256(%s))", (agent_id, agent_id.encode())
        )
    gateway = FakeGateway()
    names = nullable(conn, table)
    together = {
        "lease_token": ("lease_token", "lease_expires_at"),
        "lease_expires_at": ("lease_token", "lease_expires_at"),
    }

    for name in names:
        columns = sql.SQL(", ").join(
            sql.SQL("{} = null").format(sql.Identifier(each)) for each in together.get(name, (name,))
        )
        conn.execute(sql.SQL("update {} set {} where agent_id = 'a1'").format(sql.Identifier(table), columns))
        put(conn, f"k-{name}", "a2", session_id=f"s-{name}")
        receive(conn, "a1", "c-a1", '{"type": "status", "payload": {"sessionId": "s-a1", "state": "running"}}')
        for agent_id in ("a1", "a2"):
            receive(conn, agent_id, f"c-{agent_id}", '{"type": "heartbeat"}')
        assert sweep(conn, gateway, deadline=plenty).failed_passes == 0

    assert names
    assert list(delivered(gateway)) == [f"k-{name}" for name in names]


@pytest.mark.parametrize("column", ["lease", "throttled_until", "last_seen_at", "connected_at", "capacity", "region"])
def test_an_agent_whose_own_row_holds_null_gets_its_commands(conn: Connection, column: str) -> None:
    """What is not known of an agent is no reason to leave it alone."""
    provide_connected(conn, "acknowledging")
    for name in ("lease_token", "lease_expires_at") if column == "lease" else (column,):
        conn.execute(sql.SQL("update agents set {} = null").format(sql.Identifier(name)))
    put(conn, "k1")
    gateway = FakeGateway()

    sweep_twice(conn, gateway)

    assert list(delivered(gateway)) == ["k1"]


@pytest.mark.parametrize("manner", MANNERS)
def test_a_payload_of_every_json_type_arrives_as_it_was_stored(conn: Connection, manner: str) -> None:
    """With every digit; SQL's NULL arrives as an empty object."""
    provide_connected(conn, manner)
    for number, payload in enumerate(PAYLOADS.values()):
        put(conn, f"k{number}", payload=payload, session_id=f"s{number}")
    gateway = FakeGateway()

    sweep_twice(conn, gateway)

    expected = [json.loads(text or "{}", parse_int=Decimal, parse_float=Decimal) for text in PAYLOADS.values()]
    assert list(delivered(gateway).values()) == expected


@pytest.mark.parametrize("status", ["zzz", "", "PENDING", "ack", "null", "päng", "x" * 10_000])
def test_an_unknown_status_is_set_aside_with_its_reason_and_the_others_go_on(conn: Connection, status: str) -> None:
    """In the midst of others, which keep their order."""
    provide_connected(conn, "acknowledging")
    put(conn, "k1")
    put(conn, "odd", status=status)
    put(conn, "k2")
    gateway = FakeGateway()

    sweep_twice(conn, gateway)

    row = conn.execute("select status, error_message from agent_commands where command_id = 'odd'").fetchone()
    assert list(delivered(gateway)) == ["k1", "k2"]
    assert row is not None
    assert (row[0], row[1].startswith("set aside: unknown status")) == ("dead", True)


def test_odd_rows_of_all_kinds_at_once_leave_each_agent_its_commands(conn: Connection) -> None:
    """Three agents, one of each manner; between their commands everything of the above."""
    agents = {"a1": "acknowledging", "a2": "silent", "a3": "batching"}
    for agent_id, manner in agents.items():
        dialect, platform = MANNERS[manner]
        create_agent(conn, agent_id, platform)
        connect(conn, agent_id, f"c-{agent_id}", mode=dialect, window=100)
    names = nullable(conn, "agent_commands")
    for agent_id in agents:
        for number, payload in enumerate(PAYLOADS.values()):
            put(conn, f"{agent_id}-{number}", agent_id, payload=payload, session_id=f"s{number}")
            put(conn, f"{agent_id}-odd-{number}", agent_id, status="zzz")
            put(conn, f"{agent_id}-null-{number}", agent_id, **{"session_id": f"n{number}", names[number]: None})
    gateway = FakeGateway()

    sweep_twice(conn, gateway)

    left = {command_id for command_id, status in statuses(conn).items() if status == "pending"}
    came = list(delivered(gateway))
    assert left == set()
    assert len(came) == 2 * len(PAYLOADS) * len(agents)
    for agent_id in agents:
        mine = [command_id for command_id in came if command_id.startswith(agent_id)]
        assert mine == [command_id for command_id in statuses(conn) if command_id in mine]
