"""Odd rows do not stop other rows: NULL in every nullable column, payloads of every JSON type, unknown statuses."""

from typing import Any

import pytest
from psycopg import sql

from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from dispatcher.sessions import session_records
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, create_agent, put, receive, say, statuses
from tests.simulation.faulty_gateway import commands_of, decode_exactly
from tests.simulation.simulated_time import TimeShift
from tests.simulation.table_columns import NULL_MEANS_DEFAULT, nullable_columns

PAYLOADS = (
    '{"a": 1}',
    "{}",
    '[1, "a", null]',
    "[]",
    '"text"',
    '""',
    '"a\\nb\\r\\n"',
    "7",
    "12345678901234567890123",
    "1e400",
    "-0.10",
    "true",
    "false",
    "null",
    None,
    "[" * 500 + "]" * 500,
)
MODES = {
    "acknowledging": (None, "kubernetes"),
    "silent": (None, "docker"),
    "batching": (DeliveryMode.BATCHING, "kubernetes"),
}
LEASE = ("lease_token", "lease_expires_at")
"""Columns that are NULL together."""


def connect_agent(conn: Connection, mode: str, agent_id: str = "a1") -> None:
    """Create and connect an agent with this delivery mode, and a window with room for everything."""
    delivery_mode, platform = MODES[mode]
    create_agent(conn, agent_id, platform)
    connect(conn, agent_id, f"c-{agent_id}", mode=delivery_mode, window=100)


def set_null(conn: Connection, table: str, *columns: str, agent_id: str = "a1") -> None:
    """Set columns of an agent's rows to NULL."""
    nulls = sql.SQL(", ").join(sql.SQL("{} = null").format(sql.Identifier(column)) for column in columns)
    conn.execute(sql.SQL("update {} set {} where agent_id = {}").format(sql.Identifier(table), nulls, agent_id))


def deliver_by_sweeps(conn: Connection) -> dict[str, Any]:
    """Sweep after a minute, and until nothing more arrives; each agent completes what arrives.

    Returns the payload of each command, in the order of delivery.
    """
    gateway, completed = FakeGateway(), 0
    TimeShift(conn).apply(conn, 61)
    agents: list[tuple[str, str]] = conn.execute("select connection_id, agent_id from agents").fetchall()
    for connection_id, agent_id in agents:
        receive(conn, agent_id, connection_id, '{"type": "heartbeat"}')
    while True:
        assert sweep(conn, gateway, deadline=plenty).failed_passes == 0
        arrived = gateway.frames[completed:]
        if not arrived:
            return delivered(gateway)
        completed += len(arrived)
        for connection_id, text in arrived:
            for command in commands_of(text):
                say(conn, "complete", dict(agents)[connection_id], connection_id, commandId=command.command_id)


def delivered(gateway: FakeGateway) -> dict[str, Any]:
    """Return the payload of each delivered command, in the order of delivery; numbers keep their digits."""
    return {each.command_id: each.payload for _, text in gateway.frames for each in commands_of(text)}


@pytest.mark.parametrize("mode", MODES)
def test_null_in_each_nullable_column_of_a_command_does_not_stop_the_others(conn: Connection, mode: str) -> None:
    """The columns are read from the database: one that is added later is tested too."""
    connect_agent(conn, mode)
    names = [*nullable_columns(conn, "agent_commands"), *NULL_MEANS_DEFAULT]
    for name in names:
        columns: dict[str, Any] = {"session_id": f"s-{name}", name: None}
        put(conn, f"null-{name}", **columns)
        put(conn, f"after-{name}", session_id=f"s-after-{name}")

    assert {"error_message", "session_id", "payload", "sent_at"} <= set(names)
    assert list(deliver_by_sweeps(conn)) == [f"{when}-{name}" for name in names for when in ("null", "after")]


def test_a_row_with_only_nulls_is_delivered(conn: Connection) -> None:
    """Only its id, its agent and its action have values."""
    connect_agent(conn, "acknowledging")
    columns: dict[str, Any] = dict.fromkeys([*nullable_columns(conn, "agent_commands"), *NULL_MEANS_DEFAULT])
    put(conn, "k1", **columns)

    assert deliver_by_sweeps(conn) == {"k1": {}}


@pytest.mark.parametrize("table", ["agents", "agent_connections", "sessions", "agent_keys"])
def test_null_in_each_nullable_column_of_another_table_does_not_stop_the_others(conn: Connection, table: str) -> None:
    """In another agent's row, connection, session and key."""
    for agent_id in ("a1", "a2"):
        connect_agent(conn, "acknowledging", agent_id)
        session_records.insert(
            conn, name=f"s-{agent_id}", agent_id=agent_id, owner="u", template="t", resources={}, persistent_home=False
        )
        conn.execute(
            "insert into agent_keys (agent_id, key_hash) values (%s, sha256(%s))", (agent_id, agent_id.encode())
        )
    gateway = FakeGateway()
    names = nullable_columns(conn, table)

    for name in names:
        set_null(conn, table, *(LEASE if name in LEASE else (name,)))
        put(conn, f"k-{name}", "a2", session_id=f"s-{name}")
        receive(conn, "a1", "c-a1", '{"type": "status", "payload": {"sessionId": "s-a1", "state": "running"}}')
        for agent_id in ("a1", "a2"):
            receive(conn, agent_id, f"c-{agent_id}", '{"type": "heartbeat"}')
        assert sweep(conn, gateway, deadline=plenty).failed_passes == 0
        say(conn, "complete", "a2", "c-a2", commandId=f"k-{name}")

    assert names
    assert list(delivered(gateway)) == [f"k-{name}" for name in names]


def test_an_agent_whose_own_row_contains_null_gets_its_commands(conn: Connection) -> None:
    """An unknown value never delays delivery."""
    columns = ("throttled_until", "last_seen_at", "connected_at", "capacity", "region")
    for names in (LEASE, *((name,) for name in columns)):
        connect_agent(conn, "acknowledging", names[0])
        set_null(conn, "agents", *names, agent_id=names[0])
        put(conn, f"k-{names[0]}", names[0])

    assert set(deliver_by_sweeps(conn)) == {f"k-{name}" for name in (LEASE[0], *columns)}


@pytest.mark.parametrize("mode", MODES)
def test_a_payload_of_every_json_type_arrives_as_it_was_stored(conn: Connection, mode: str) -> None:
    """With every digit; SQL's NULL arrives as an empty object, and so does JSON's at agents that read only objects."""
    connect_agent(conn, mode)
    for number, payload in enumerate(PAYLOADS):
        put(conn, f"k{number}", payload=payload, session_id=f"s{number}")

    stored: list[Any] = [decode_exactly(text or "{}") for text in PAYLOADS]
    expected: list[Any] = stored if mode == "batching" else [{} if payload is None else payload for payload in stored]
    assert list(deliver_by_sweeps(conn).values()) == expected


def test_unknown_statuses_are_set_aside_with_a_reason_and_the_others_are_delivered(conn: Connection) -> None:
    """The others keep their order."""
    odd = ["zzz", "", "PENDING", "ack", "null", "päng", "x" * 10_000]
    connect_agent(conn, "acknowledging")
    for number, status in enumerate(odd):
        put(conn, f"k{number}")
        put(conn, f"odd{number}", status=status)

    assert list(deliver_by_sweeps(conn)) == [f"k{number}" for number in range(len(odd))]
    rows = conn.execute("select status, error_message from agent_commands where command_id like 'odd%'").fetchall()
    assert [status for status, _ in rows] == ["dead"] * len(odd)
    assert all(reason.startswith("set aside: unknown status") for _, reason in rows)


def test_odd_rows_of_all_kinds_at_once_leave_each_agent_its_commands(conn: Connection) -> None:
    """Three agents, one of each delivery mode, and all of the above between their commands."""
    agents = {"a1": "acknowledging", "a2": "silent", "a3": "batching"}
    names = nullable_columns(conn, "agent_commands")
    for agent_id, mode in agents.items():
        connect_agent(conn, mode, agent_id)
        for number, payload in enumerate(PAYLOADS):
            put(conn, f"{agent_id}-{number}", agent_id, payload=payload, session_id=f"s{number}")
            put(conn, f"{agent_id}-odd-{number}", agent_id, status="zzz")
            put(conn, f"{agent_id}-null-{number}", agent_id, **{"session_id": f"n{number}", names[number]: None})

    arrived = list(deliver_by_sweeps(conn))

    assert "pending" not in statuses(conn).values()
    for agent_id in agents:
        own = [command_id for command_id in arrived if command_id.startswith(agent_id)]
        assert own == [each for each in statuses(conn) if each.startswith(agent_id) and "odd" not in each]
