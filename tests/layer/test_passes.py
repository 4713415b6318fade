"""The passes of a sweep: each is there, goes on while there is more, ends in time, and stops no other."""

import psycopg
import pytest

from dispatcher.commands import flush
from dispatcher.commands import sweep as module
from dispatcher.commands.delivery import Deadline, Delivered, deliver
from dispatcher.commands.flush import FlushRequest
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Gateway
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put, statuses

PAST = "2020-01-01"


def test_every_clock_is_looked_at_in_one_sweep(conn: Connection) -> None:
    """One command for each of them, while its agent is away."""
    provide(conn)
    put(conn, "waits-too-long", deliver_by=PAST)
    put(conn, "not-acknowledged", status="sent", attempt=1, ack_deadline=PAST)
    put(conn, "runs-too-long", status="acknowledged", attempt=1, execution_deadline=PAST)
    put(conn, "old", status="completed", completed_at=PAST)

    swept = sweep(conn, FakeGateway(), deadline=plenty)

    assert statuses(conn) == {
        "waits-too-long": "expired",
        "not-acknowledged": "pending",
        "runs-too-long": "timed_out",
    }
    assert (swept.expired, swept.released, swept.timed_out, swept.pruned) == (1, 1, 1, 1)


def test_every_end_that_a_sweep_makes_has_its_time_and_no_clock_left(conn: Connection) -> None:
    """Without its time it would never be pruned."""
    provide(conn)
    put(conn, "expired", deliver_by=PAST)
    put(conn, "dead", status="sent", attempt=3, max_attempts=3, ack_deadline=PAST)
    put(conn, "cancelled", status="sent", attempt=1, ack_deadline=PAST, cancel_requested_at=PAST)
    put(conn, "timed_out", status="acknowledged", attempt=1, execution_deadline=PAST)

    sweep(conn, FakeGateway(), deadline=plenty)

    assert {name: name for name in statuses(conn)} == statuses(conn)
    rows = conn.execute("select completed_at is null, ack_deadline, execution_deadline from agent_commands").fetchall()
    assert rows == [(False, None, None)] * 4


def test_a_pass_goes_on_while_its_batches_are_full(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day's backlog is not ended at one batch a minute."""
    monkeypatch.setattr(module, "BATCH", 2)
    for number in range(7):
        put(conn, f"k{number}", deliver_by=PAST)

    assert sweep(conn, FakeGateway(), deadline=plenty).expired == 7


def test_a_pass_with_full_batches_ends_when_the_time_is_up(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next sweep goes on where it ended."""
    monkeypatch.setattr(module, "BATCH", 1)
    for number in range(7):
        put(conn, f"k{number}", deliver_by=PAST)
    left = iter([60.0, 60.0, 60.0, *[0.0] * 99])

    swept = sweep(conn, FakeGateway(), deadline=lambda: next(left))

    assert 0 < swept.expired < 7


def test_without_time_no_pass_is_begun(conn: Connection) -> None:
    """It would be killed in the middle of it."""
    provide(conn)
    connect(conn)
    conn.execute("update agents set last_seen_at = now() - interval '1 hour'")

    swept = sweep(conn, FakeGateway(), deadline=lambda: 0.0)

    assert (swept.absent, conn.execute("select connection_id from agents").fetchone()) == (0, ("c1",))


def test_one_agent_that_cannot_be_delivered_to_stops_no_other(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I11: whatever the database says about its rows."""

    def sometimes(conn: Connection, gateway: Gateway, agent_id: str, deadline: Deadline) -> Delivered:
        if agent_id == "a0":
            raise psycopg.errors.DeadlockDetected
        return deliver(conn, gateway, agent_id, deadline)

    monkeypatch.setattr(module, "deliver", sometimes)
    for number in range(3):
        provide(conn, f"a{number}")
        connect(conn, f"a{number}", f"c{number}")
        put(conn, f"k{number}", f"a{number}")

    swept = sweep(conn, FakeGateway(), deadline=plenty)

    assert (swept.failed_passes, statuses(conn)) == (1, {"k0": "pending", "k1": "sent", "k2": "sent"})


def test_flush_does_not_wait_for_ever_for_a_handshake(conn: Connection) -> None:
    """The client may have gone in the middle of it; the sweep is there for the rest."""

    class Never(FakeGateway):
        looks = 0

        def is_live(self, connection_id: str) -> bool:
            del connection_id
            self.looks += 1
            assert self.looks < 9
            return False

    provide(conn)
    connect(conn)
    gateway = Never()

    delivered = flush.flush(conn, gateway, FlushRequest(agent_id="a1", connection_id="c1", epoch=1), lambda: 0.2)

    assert (delivered.sent, gateway.looks > 1) == (0, True)
