"""The tables: what they accept and refuse from every client."""

from typing import Any

import pytest
from psycopg import errors

from dispatcher.commands.delivery import deliver
from dispatcher.platform.database import Connection
from tests.fakes import FakeGateway, plenty
from tests.rows import connect_new_agent, create_agent, put


@pytest.mark.parametrize(
    "change",
    [
        "status = 'zzz'",
        "status = 'zzz', moves = moves + 1",
        "status = 'pending', attempt = max_attempts",
        "status = 'dead', attempt = max_attempts + 1",
        "status = 'sent', sent_at = now()",
        "status = 'sent', ack_deadline = now()",
        "status = 'acknowledged'",
        "idempotency_key = 'k'",
    ],
)
def test_the_table_refuses_illegal_rows(conn: Connection, change: str) -> None:
    """I1, I3, I10: also with psql."""
    create_agent(conn)
    put(conn, "k1")

    with pytest.raises(errors.CheckViolation):
        conn.execute(f"update agent_commands set {change}".encode())


@pytest.mark.parametrize(
    ("column", "value"),
    [("created_at", "infinity"), ("deliver_by", "4713-01-01 BC"), ("not_before", "infinity"), ("priority", 1000)],
)
def test_a_value_that_clients_cannot_decode_is_refused_at_the_insert(conn: Connection, column: str, value: Any) -> None:
    """The error names the constraint, so that an operator with psql sees the reason."""
    create_agent(conn)

    with pytest.raises((errors.CheckViolation, errors.NumericValueOutOfRange)):
        put(conn, "k1", **{column: value})


@pytest.mark.parametrize(
    "columns",
    [
        {"attempt": 10, "max_attempts": None},
        {"attempt": 10, "status": None},
        {"attempt": 15, "max_attempts": None, "status": "dead"},
        {"moves": 0, "status": "bogus", "cause": "c"},
        {"idempotency_key": "k"},
    ],
)
def test_null_hides_no_illegal_value_of_an_insert(conn: Connection, columns: dict[str, Any]) -> None:
    """I3: the row is checked as it will be stored; a command beyond its attempts would be sent for ever."""
    create_agent(conn)

    with pytest.raises(errors.CheckViolation):
        put(conn, "k1", **columns)


def test_a_change_of_the_id_is_checked_and_recorded(conn: Connection) -> None:
    """By hand; the history is found under the new id."""
    create_agent(conn)
    put(conn, "k1")

    with pytest.raises(errors.CheckViolation):
        conn.execute("update agent_commands set command_id = ''")
    conn.execute("update agent_commands set command_id = 'k2', status = 'dead'")

    recorded = conn.execute("select to_status, by_hand from command_history where command_id = 'k2'").fetchall()
    assert recorded == [("dead", True)]


def test_a_lease_without_an_end_is_refused(conn: Connection) -> None:
    """I5: no other worker could ever take it."""
    create_agent(conn)

    with pytest.raises(errors.CheckViolation):
        conn.execute("update agents set lease_token = gen_random_uuid()")


def test_null_moves_mean_zero(conn: Connection) -> None:
    """An insert may put NULL in any column, and the command is delivered."""
    connect_new_agent(conn)
    put(conn, "k1", moves=None)
    accepted = conn.execute("select moves from agent_commands").fetchone()

    deliver(conn, FakeGateway(), "a1", plenty)

    assert accepted == (0,)
    assert conn.execute("select status, moves from agent_commands").fetchone() == ("sent", 1)
