"""Somebody holds a lock on a row, with psql or in a transaction that hangs: the others' commands do not wait for it."""

import time

from dispatcher.commands.delivery import deliver
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection, open_connection
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put, statuses


def test_delivery_does_not_turn_round_and_round_a_locked_row(conn: Connection, database_url: str) -> None:
    """It is due, and cannot be claimed: the look for more work ends all the same."""
    provide(conn)
    connect(conn)
    put(conn, "k1")
    begun = time.monotonic()

    with open_connection(database_url) as other, other.transaction():
        other.execute("select from agent_commands where command_id = 'k1' for update")
        claimed = deliver(conn, FakeGateway(), "a1", lambda: 10.0 + begun - time.monotonic()).claimed

    assert (claimed, time.monotonic() - begun < 1.0) == (0, True)


def test_a_sweep_goes_around_a_locked_row_and_delivers_it_when_it_is_free(conn: Connection, database_url: str) -> None:
    """I11: one row stops no other."""
    for agent_id in ("a1", "a2"):
        provide(conn, agent_id)
        connect(conn, agent_id, f"c-{agent_id}")
        put(conn, f"k-{agent_id}", agent_id)
    gateway = FakeGateway()
    begun = time.monotonic()

    with open_connection(database_url) as other, other.transaction():
        other.execute("select from agent_commands where command_id = 'k-a1' for update")
        sweep(conn, gateway, deadline=lambda: 10.0 + begun - time.monotonic())
        locked = statuses(conn)
    sweep(conn, gateway, deadline=plenty)

    assert (locked, statuses(conn)) == ({"k-a1": "pending", "k-a2": "sent"}, {"k-a1": "sent", "k-a2": "sent"})
    assert time.monotonic() - begun < 2.0
