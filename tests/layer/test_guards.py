"""What the guards keep out: each of them with the one case that it is there for."""

import json
from typing import Any

import pytest
from psycopg import errors

from dispatcher.agents import connections
from dispatcher.agents.connections import Origin
from dispatcher.commands import cancellation, claims, redelivery
from dispatcher.commands.claims import Outcome
from dispatcher.commands.delivery import deliver
from dispatcher.commands.flush import record_connection
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode, Handshake
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put, receive, statuses


@pytest.fixture(autouse=True)
def _agent(conn: Connection) -> None:
    """An agent that takes batches is connected."""
    provide(conn)
    connect(conn, mode=DeliveryMode.BATCHING, window=10)


def report(conn: Connection, *reports: dict[str, Any], agent_id: str = "a1", connection_id: str = "c1") -> bool:
    """Let an agent report."""
    return receive(conn, agent_id, connection_id, json.dumps({"type": "reports", "reports": reports}))


@pytest.mark.parametrize(
    "change",
    [
        "status = 'zzz'",
        "status = 'pending', attempt = max_attempts",
        "status = 'dead', attempt = max_attempts + 1",
        "status = 'sent', sent_at = now()",
        "status = 'sent', ack_deadline = now()",
        "status = 'acknowledged'",
        "idempotency_key = 'k'",
    ],
)
def test_the_table_itself_refuses_what_must_never_be(conn: Connection, change: str) -> None:
    """I1, I3, I10: whoever writes, with psql too."""
    put(conn, "k1")

    with pytest.raises(errors.CheckViolation):
        conn.execute(f"update agent_commands set {change}".encode())


def test_an_agent_gets_its_own_commands_and_nobody_elses(conn: Connection) -> None:
    """Though another one's is older, and goes before it."""
    provide(conn, "a2")
    put(conn, "k-other", "a2", priority=9)
    put(conn, "k1")

    claims.claim(conn, "a1")

    assert statuses(conn) == {"k-other": "pending", "k1": "sent"}


def test_a_lease_without_an_end_is_refused(conn: Connection) -> None:
    """I5: nobody could ever take it over."""
    with pytest.raises(errors.CheckViolation):
        conn.execute("update agents set lease_token = gen_random_uuid()")


@pytest.mark.parametrize("status", ["sent", "acknowledged"])
def test_what_could_not_be_sent_in_an_older_attempt_says_nothing_of_the_newer(conn: Connection, status: str) -> None:
    """I7: a slow holder's 413 comes after another one has delivered."""
    put(conn, "k1")
    old = claims.claim(conn, "a1")
    connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING, window=10)
    claims.claim(conn, "a1")
    if status == "acknowledged":
        report(conn, {"kind": "ack", "commandId": "k1", "attempt": 2}, connection_id="c2")
    assert old is not None

    claims.release(conn, old, Outcome(unsendable=[(old.commands[0], "too large")]))

    assert statuses(conn) == {"k1": status}


def test_what_was_acknowledged_meanwhile_is_not_failed_as_unsendable(conn: Connection) -> None:
    """I6: the agent has it, whatever the gateway said."""
    put(conn, "k1")
    claim = claims.claim(conn, "a1")
    report(conn, {"kind": "ack", "commandId": "k1", "attempt": 1})
    assert claim is not None

    claims.release(conn, claim, Outcome(unsendable=[(claim.commands[0], "too large")]))

    assert statuses(conn) == {"k1": "acknowledged"}


@pytest.mark.parametrize("kind", ["ack", "complete", "failed"])
def test_an_agent_settles_nothing_that_it_was_never_sent(conn: Connection, kind: str) -> None:
    """I9: it can only have guessed the id."""
    put(conn, "k1", not_before="2999-01-01")

    moved = report(conn, {"kind": kind, "commandId": "k1", "error": "no"})

    assert (moved, statuses(conn)) == (False, {"k1": "pending"})


def test_an_agent_acknowledges_nothing_that_was_written_as_never_sent(conn: Connection) -> None:
    """I9: by hand, with the number of a connection, and without an attempt."""
    put(conn, "k1", epoch=1, not_before="2999-01-01")

    moved = receive(conn, "a1", "c1", '{"type": "ack", "payload": {"commandId": "k1"}}')

    assert (moved, statuses(conn)) == (False, {"k1": "pending"})


def test_no_agent_asks_for_another_attempt_of_another_agents_command(conn: Connection) -> None:
    """I9: a failure that is called retryable is another statement than one that is not."""
    provide(conn, "a2")
    connect(conn, "a2", "c-a2", mode=DeliveryMode.BATCHING)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    failed = {"kind": "failed", "commandId": "k1", "attempt": 1, "error": "busy", "retryable": True}
    moved = report(conn, failed, agent_id="a2", connection_id="c-a2")

    assert (moved, statuses(conn)) == (False, {"k1": "sent"})


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "dead", "timed_out"])
def test_an_ended_command_is_not_marked_as_to_be_cancelled(conn: Connection, status: str) -> None:
    """I6: an end is final, in every column."""
    put(conn, "k1", status=status, attempt=1)

    answer = cancellation.request_cancel(conn, "k1", "operator")

    asked = conn.execute("select cancel_requested_at from agent_commands").fetchone()
    assert (answer, asked) == (None, (None,))


def test_a_cancel_of_what_was_sent_is_kept_until_the_attempt_is_over(conn: Connection) -> None:
    """I14: an agent that does not answer is not sent it again."""
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    answer = cancellation.request_cancel(conn, "k1", "operator")
    conn.execute("update agent_commands set ack_deadline = now()")
    sweep(conn, FakeGateway(), deadline=plenty)

    assert (answer, statuses(conn)) == ("sent", {"k1": "cancelled"})


def test_a_flush_that_comes_late_says_nothing_of_the_newer_connection(conn: Connection) -> None:
    """I8: that one's handshake may still be under way."""
    record_connection(conn, FakeGateway(), "a1", "c2", handshake=Handshake(), origin=Origin())

    connections.mark_live(conn, "a1", 1)

    assert conn.execute("select live, epoch from agents").fetchone() == (False, 2)


def test_a_connection_that_is_told_twice_is_one_connection(conn: Connection) -> None:
    """An event that comes twice closes no socket, and acks over it go on counting."""
    gateway = FakeGateway()
    again = record_connection(conn, gateway, "a1", "c1", handshake=Handshake(), origin=Origin())
    assert again is not None
    connections.mark_live(conn, "a1", again.epoch)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    receive(conn, "a1", "c1", '{"type": "ack", "payload": {"commandId": "k1"}}')

    assert (gateway.closed, statuses(conn)) == ([], {"k1": "acknowledged"})


def test_a_row_that_was_written_as_sent_goes_back_when_its_agent_reconnects(conn: Connection) -> None:
    """I11: by hand, and so without the number of a connection."""
    put(conn, "k1", status="sent", attempt=1, ack_deadline="2999-01-01")

    connect(conn, connection_id="c2")

    assert statuses(conn) == {"k1": "pending"}


def test_what_an_older_connection_acknowledged_keeps_nothing_from_being_sent_again(conn: Connection) -> None:
    """I15: the agent may have been started anew, and executes nothing any more."""
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    report(conn, {"kind": "ack", "commandId": "k1", "attempt": 1})
    connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k2")
    deliver(conn, FakeGateway(), "a1", plenty)
    conn.execute("update agent_commands set ack_deadline = now() where command_id = 'k2'")

    assert (redelivery.return_unacknowledged(conn, 10), statuses(conn)) == (1, {"k1": "acknowledged", "k2": "pending"})


def test_an_attempt_whose_time_is_not_over_is_left_alone(conn: Connection) -> None:
    """I3: or each sweep would send everything again."""
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    assert (redelivery.return_unacknowledged(conn, 10), statuses(conn)) == (0, {"k1": "sent"})


def test_a_docker_agents_answer_is_about_what_is_under_way_and_not_about_what_timed_out(conn: Connection) -> None:
    """Its answer names only the session."""
    for number in (1, 2, 3):
        put(conn, f"k{number}", session_id="s1", status="sent", attempt=1, epoch=1)
    conn.execute("update agent_commands set status = 'timed_out', cause = 'no result' where command_id = 'k1'")

    receive(conn, "a1", "c1", '{"type": "command_response", "sessionId": "s1", "success": true}')

    assert statuses(conn) == {"k1": "timed_out", "k2": "completed", "k3": "sent"}
