"""The sweep is the backstop: bounded, and stopped by nothing that happens to others."""

import psycopg
import pytest

from dispatcher.agents.connections import Origin
from dispatcher.commands import deadlines
from dispatcher.commands.delivery import deliver
from dispatcher.commands.flush import FlushRequest, flush, record_connection
from dispatcher.commands.sweep import INLINE, sweep
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import Handshake
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put, statuses


def test_more_agents_than_one_run_delivers_to_are_shared_out(conn: Connection) -> None:
    """The rest is handed over to flush, each agent to a run of its own."""
    for number in range(INLINE + 7):
        provide(conn, f"a{number}")
        connect(conn, f"a{number}", f"c{number}")
        put(conn, f"k{number}", f"a{number}")
    gateway = FakeGateway()
    shared_out: list[FlushRequest] = []

    swept = sweep(conn, gateway, deadline=plenty, hand_over=shared_out.append)
    for each in shared_out:
        flush(conn, gateway, each, plenty)

    assert (swept.sent, swept.handed_over, len(shared_out)) == (INLINE, 7, 7)
    assert set(statuses(conn).values()) == {"sent"}


def test_a_pass_that_fails_stops_no_other(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted, and the commands are delivered."""

    def fail(_conn: Connection, _limit: int) -> int:
        raise psycopg.errors.LockNotAvailable

    monkeypatch.setattr(deadlines, "expire", fail)
    provide(conn)
    connect(conn)
    put(conn, "k1")

    swept = sweep(conn, FakeGateway(), deadline=plenty)

    assert (swept.failed_passes, swept.sent) == (1, 1)


def test_it_begins_nothing_that_its_time_does_not_suffice_for(conn: Connection) -> None:
    """The next minute's sweep goes on; nothing is left claimed."""
    provide(conn)
    connect(conn)
    put(conn, "k1")

    swept = sweep(conn, FakeGateway(), deadline=lambda: 5.0)

    assert (swept.sent, statuses(conn)) == (0, {"k1": "pending"})


def test_nothing_is_posted_while_the_handshake_is_under_way(conn: Connection) -> None:
    """A post would find the connection gone, and it would be forgotten: flush waits until it is live."""
    provide(conn)
    request = record_connection(conn, FakeGateway(), "a1", "c1", handshake=Handshake(), origin=Origin())
    put(conn, "k1")
    gateway = FakeGateway()
    assert request is not None

    during = deliver(conn, gateway, "a1", plenty)
    after = flush(conn, gateway, request, plenty)

    assert (during.claimed, after.sent) == (0, 1)


def test_a_connection_whose_flush_was_lost_is_delivered_to_by_the_sweep(conn: Connection) -> None:
    """After the longest handshake, nobody has to say that it is over."""
    provide(conn)
    record_connection(conn, FakeGateway(), "a1", "c1", handshake=Handshake(), origin=Origin())
    put(conn, "k1")
    conn.execute("update agents set connected_at = now() - interval '11 seconds'")

    assert sweep(conn, FakeGateway(), deadline=plenty).sent == 1


def test_a_connection_that_is_silent_for_too_long_is_forgotten(conn: Connection) -> None:
    """Its $disconnect may never come."""
    provide(conn)
    connect(conn)
    conn.execute("update agents set last_seen_at = now() - interval '12 minutes'")
    gateway = FakeGateway()

    swept = sweep(conn, gateway, deadline=plenty)

    assert (swept.absent, gateway.closed) == (1, ["c1"])
    assert conn.execute("select connection_id from agents").fetchone() == (None,)


def test_what_ended_long_ago_is_pruned_with_its_history(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else."""
    monkeypatch.setenv("RETENTION_DAYS", "7")
    for name, days in (("old", 8), ("young", 6)):
        put(conn, name, status="completed")
        conn.execute(
            "update agent_commands set completed_at = now() - %s * interval '1 day' where command_id = %s", (days, name)
        )

    swept = sweep(conn, FakeGateway(), deadline=plenty)

    assert (swept.pruned, statuses(conn)) == (1, {"young": "completed"})
    assert conn.execute("select distinct command_id from command_history").fetchall() == [("young",)]
