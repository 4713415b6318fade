"""Reports that come twice or after later ones: an agent keeps them until they are confirmed, and so does the queue."""

import pytest

from dispatcher.commands.delivery import deliver
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import connect_new_agent, find, put, report, report_of

ACK = report_of("ack")
FAILED = report_of("failed", error="busy", retryable=True)


@pytest.mark.parametrize("first", [[ACK, FAILED], [FAILED]])
def test_an_ack_that_comes_after_a_retryable_failure_changes_nothing(
    conn: Connection, first: list[dict[str, object]]
) -> None:
    """The agent waits for the next attempt: a command that counts as executing would end only at its execution timeout."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    report(conn, *first)

    report(conn, ACK)

    assert find(conn).status == "pending"


def test_the_ack_of_the_next_attempt_counts(conn: Connection) -> None:
    """A failure of the attempt before does not stand in its way, also if the service gave the attempt up meanwhile."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    report(conn, ACK, FAILED)
    conn.execute("update agent_commands set retry_at = null")
    deliver(conn, FakeGateway(), "a1", plenty)
    conn.execute("update agent_commands set status = 'pending', ack_deadline = null")

    report(conn, report_of("ack", attempt=2))

    assert find(conn).status == "acknowledged"
