"""Cancellation: a pending command ends at once; one that is under way ends with its attempt."""

import pytest

from dispatcher.commands import cancellation
from dispatcher.commands.delivery import deliver
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import connect_new_agent, find, move_into_past, put, report, report_of, statuses


def test_a_cancelled_command_that_is_under_way_ends_and_is_not_sent_again(conn: Connection) -> None:
    """I14: nothing is delivered after a committed cancel, even if the agent does not answer."""
    connect_new_agent(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    under_way = cancellation.request_cancel(conn, "k1", "ann")

    move_into_past(conn, "ack_deadline")
    sweep(conn, FakeGateway(), deadline=plenty)

    assert under_way == "sent"
    assert statuses(conn) == {"k1": "cancelled"}


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "dead", "cancelled"])
def test_an_ended_command_gets_no_cancel_request(conn: Connection, status: str) -> None:
    """I6: an end is final, in every column."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1", status=status, attempt=1)

    answer = cancellation.request_cancel(conn, "k1", "operator")

    assert answer is None
    assert find(conn).cancel_requested_at is None


def test_an_agent_can_confirm_only_a_requested_cancel(conn: Connection) -> None:
    """An agent cannot cancel a command by itself."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=32)
    gateway = FakeGateway()
    put(conn, "k1")
    put(conn, "k2")
    deliver(conn, gateway, "a1", plenty)
    conn.execute("update agent_commands set cancel_requested_at = now() where command_id = 'k1'")

    report(conn, report_of("cancelled", "k1"), report_of("cancelled", "k2"))

    assert statuses(conn) == {"k1": "cancelled", "k2": "sent"}


def test_a_retryable_failure_ends_a_command_with_a_requested_cancel(conn: Connection) -> None:
    """I14: the command is not sent again."""
    connect_new_agent(conn, window=10)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    conn.execute("update agent_commands set cancel_requested_at = now()")

    report(conn, report_of("failed", error="busy", retryable=True))

    assert statuses(conn) == {"k1": "failed"}
