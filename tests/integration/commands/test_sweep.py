"""The sweep: every pass runs, each is bounded, and a failed one does not stop the others."""

from typing import TYPE_CHECKING

import psycopg
import pytest

from dispatcher.agents import connections
from dispatcher.agents.connections import Origin
from dispatcher.commands import deadlines, flush
from dispatcher.commands import sweep as sweep_module
from dispatcher.commands.delivery import Deadline, Delivered, deliver
from dispatcher.commands.sweep import INLINE, Swept, sweep
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.gateway import Gateway
from dispatcher.protocol.handshake import DeliveryMode, Handshake
from tests.fakes import FakeGateway, plenty
from tests.rows import FUTURE, PAST, connect_new_agent, create_agent, current_connection, put, statuses

if TYPE_CHECKING:
    from dispatcher.commands.flush import FlushRequest


def test_every_deadline_is_checked_in_one_sweep(conn: Connection) -> None:
    """One command for each deadline; its agent is offline."""
    create_agent(conn)
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
    assert swept == Swept(expired=1, released=1, timed_out=1, pruned=1)


def test_a_pass_goes_on_while_its_batches_are_full(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a day's backlog would be ended at one batch a minute."""
    monkeypatch.setattr(sweep_module, "BATCH", 2)
    for number in range(7):
        put(conn, f"k{number}", deliver_by=PAST)

    assert sweep(conn, FakeGateway(), deadline=plenty).expired == 7


def test_a_pass_with_full_batches_ends_when_the_time_is_up(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next sweep goes on where this one ended."""
    monkeypatch.setattr(sweep_module, "BATCH", 1)
    for number in range(7):
        put(conn, f"k{number}", deliver_by=PAST)
    left = iter([60.0, 60.0, 60.0, *[0.0] * 99])

    swept = sweep(conn, FakeGateway(), deadline=lambda: next(left))

    assert 0 < swept.expired < 7


def test_without_time_no_pass_is_begun(conn: Connection) -> None:
    """The function would be killed in the middle of the pass."""
    connect_new_agent(conn)
    conn.execute("update agents set last_seen_at = now() - interval '1 hour'")

    swept = sweep(conn, FakeGateway(), deadline=lambda: 0.0)

    assert swept.absent == 0
    assert current_connection(conn) == "c1"


def test_a_sweep_without_time_to_post_delivers_nothing(conn: Connection) -> None:
    """The next sweep delivers it; no command stays claimed."""
    connect_new_agent(conn)
    put(conn, "k1")

    swept = sweep(conn, FakeGateway(), deadline=lambda: 5.0)

    assert swept.sent == 0
    assert statuses(conn) == {"k1": "pending"}


def test_a_failed_pass_does_not_stop_the_others(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted, and the commands are delivered."""

    def fail(_conn: Connection, _limit: int) -> int:
        raise psycopg.errors.LockNotAvailable

    monkeypatch.setattr(deadlines, "expire", fail)
    connect_new_agent(conn)
    put(conn, "k1")

    swept = sweep(conn, FakeGateway(), deadline=plenty)

    assert swept.failed_passes == 1
    assert swept.sent == 1


def test_a_failed_delivery_to_one_agent_does_not_stop_the_others(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I11: for any error that the database raises for its rows."""

    def sometimes(conn: Connection, gateway: Gateway, agent_id: str, deadline: Deadline) -> Delivered:
        if agent_id == "a0":
            raise psycopg.errors.DeadlockDetected
        return deliver(conn, gateway, agent_id, deadline)

    monkeypatch.setattr(sweep_module, "deliver", sometimes)
    for number in range(3):
        connect_new_agent(conn, f"a{number}", f"c{number}")
        put(conn, f"k{number}", f"a{number}")

    swept = sweep(conn, FakeGateway(), deadline=plenty)

    assert swept.failed_passes == 1
    assert statuses(conn) == {"k0": "pending", "k1": "sent", "k2": "sent"}


def test_agents_beyond_the_limit_of_one_sweep_are_handed_over_to_flush(conn: Connection) -> None:
    """Each of them gets its own invocation."""
    for number in range(INLINE + 7):
        connect_new_agent(conn, f"a{number}", f"c{number}")
        put(conn, f"k{number}", f"a{number}")
    gateway = FakeGateway()
    handed_over: list[FlushRequest] = []

    swept = sweep(conn, gateway, deadline=plenty, hand_over=handed_over.append)
    for each in handed_over:
        flush.flush(conn, gateway, each, plenty)

    assert swept.sent == INLINE
    assert swept.handed_over == 7
    assert len(handed_over) == 7
    assert set(statuses(conn).values()) == {"sent"}


def test_a_sweep_sets_unreadable_rows_aside_and_delivers_the_others(conn: Connection) -> None:
    """A command with an unknown status is set aside with its reason; the others are delivered."""
    connect_new_agent(conn, platform="docker")
    put(conn, "k1", session_id="s1")
    put(conn, "bad", status="zzz", session_id="s2")
    put(conn, "k2", status=None, created_at=None, priority=None, session_id="s3")
    gateway = FakeGateway()

    swept = sweep(conn, gateway, deadline=plenty)

    assert gateway.command_ids == ["k1", "k2"]
    assert swept.loaded == 2
    assert statuses(conn) == {"k1": "sent", "bad": "dead", "k2": "sent"}


def test_a_command_is_not_delivered_before_its_time_nor_after_it(conn: Connection) -> None:
    """50 commands that are not due yet do not hide the one that is."""
    connect_new_agent(conn)
    for number in range(50):
        put(conn, f"later{number}", not_before=FUTURE)
    put(conn, "late", deliver_by=PAST)
    put(conn, "due")
    gateway = FakeGateway()

    swept = sweep(conn, gateway, deadline=plenty)

    assert gateway.command_ids == ["due"]
    assert swept.expired == 1


def test_a_sweep_skips_a_locked_row_and_delivers_it_when_it_is_free(conn: Connection, database_url: str) -> None:
    """I11: one row does not stop the others."""
    for agent_id in ("a1", "a2"):
        connect_new_agent(conn, agent_id, f"c-{agent_id}")
        put(conn, f"k-{agent_id}", agent_id)
    gateway = FakeGateway()

    with open_connection(database_url) as other, other.transaction():
        other.execute("select from agent_commands where command_id = 'k-a1' for update")
        sweep(conn, gateway, deadline=plenty)
        while_locked = statuses(conn)
    sweep(conn, gateway, deadline=plenty)

    assert while_locked == {"k-a1": "pending", "k-a2": "sent"}
    assert statuses(conn) == {"k-a1": "sent", "k-a2": "sent"}


def test_two_sweepers_at_once_send_each_command_once(conn: Connection, database_url: str) -> None:
    """R13, R24: the second one starts while the first one posts."""
    connect_new_agent(conn, mode=DeliveryMode.UNACKNOWLEDGED)
    for number in range(5):
        put(conn, f"k{number}", session_id=f"s{number}")
    second: list[int] = []

    def sweep_too(_frame: str) -> None:
        with open_connection(database_url) as other:
            second.append(sweep(other, gateway, deadline=plenty).loaded)

    gateway = FakeGateway(before_post=sweep_too)

    sweep(conn, gateway, deadline=plenty)

    assert gateway.command_ids == [f"k{number}" for number in range(5)]
    assert sum(second) == 0


def test_the_sweep_delivers_to_a_connection_whose_flush_was_lost(conn: Connection) -> None:
    """The sweep assumes that a handshake is over 10 s after the connection."""
    create_agent(conn)
    connections.open_connection(conn, "a1", "c1", handshake=Handshake(), origin=Origin())
    put(conn, "k1")
    conn.execute("update agents set connected_at = now() - interval '11 seconds'")

    assert sweep(conn, FakeGateway(), deadline=plenty).sent == 1
