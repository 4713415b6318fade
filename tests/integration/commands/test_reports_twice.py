"""Reports that come twice or after later ones: an agent keeps them until they are confirmed, and so does the queue."""

import json

import pytest

from dispatcher.commands import reports
from dispatcher.commands.delivery import deliver
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from dispatcher.protocol.said import Said
from dispatcher.sessions.session_records import SessionStates
from tests.fakes import FakeGateway, plenty
from tests.rows import connect_new_agent, find, put, report, report_of, statuses

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


def test_an_answer_that_is_handled_twice_ends_one_command(conn: Connection) -> None:
    """I17: a message that was settled just before the connection to the database broke is settled again, or kept."""
    connect_new_agent(conn, platform="docker")
    put(conn, "k1", session_id="s1")
    put(conn, "k2", session_id="s1")
    deliver(conn, FakeGateway(), "a1", plenty)
    text = json.dumps({"type": "command_response", "sessionId": "s1", "success": True})
    said = Said(agent_id="a1", connection_id="c1", text=text, event_id="e1")
    reports.receive(conn, said, SessionStates())

    reports.receive(conn, said, SessionStates())

    assert statuses(conn) == {"k1": "completed", "k2": "sent"}


def test_two_answers_end_two_commands(conn: Connection) -> None:
    """Equal messages are two messages, if the agent has sent both."""
    connect_new_agent(conn, platform="docker")
    put(conn, "k1", session_id="s1")
    put(conn, "k2", session_id="s1")
    deliver(conn, FakeGateway(), "a1", plenty)
    text = json.dumps({"type": "command_response", "sessionId": "s1", "success": True})

    for event_id in ("e1", "e2"):
        reports.receive(conn, Said(agent_id="a1", connection_id="c1", text=text, event_id=event_id), SessionStates())

    assert statuses(conn) == {"k1": "completed", "k2": "completed"}
