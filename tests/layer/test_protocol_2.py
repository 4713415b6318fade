"""Agents of the second protocol: many commands a message, many reports a message, attempts as tokens."""

import json
from typing import Any

import pytest

from dispatcher.commands.delivery import deliver
from dispatcher.errors import InvalidRequest
from dispatcher.platform.database import Connection
from dispatcher.protocol.frames import MESSAGE_BYTES
from dispatcher.protocol.handshake import DeliveryMode, Handshake
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put, receive, statuses


@pytest.fixture
def gateway(conn: Connection) -> FakeGateway:
    """An agent that takes batches is connected."""
    provide(conn)
    connect(conn, mode=DeliveryMode.BATCHING, window=32)
    return FakeGateway()


def report(conn: Connection, *reports: dict[str, Any]) -> bool:
    """Let the agent report."""
    return receive(conn, "a1", "c1", json.dumps({"type": "reports", "reports": reports}))


def of(kind: str, command_id: str, attempt: int = 1, **fields: Any) -> dict[str, Any]:
    """Make a report."""
    return {"kind": kind, "commandId": command_id, "attempt": attempt, **fields}


def test_what_fits_the_window_goes_in_one_message_in_order(conn: Connection, gateway: FakeGateway) -> None:
    """The rest waits for acks."""
    for number in range(40):
        put(conn, f"k{number}", priority=number // 20)

    deliver(conn, gateway, "a1", plenty)

    (message,) = [json.loads(text) for _, text in gateway.frames]
    ids = [command["commandId"] for command in message["commands"]]
    assert ids == [f"k{number}" for number in [*range(20, 40), *range(12)]]
    assert message["commands"][0] == {
        "commandId": "k20",
        "attempt": 1,
        "action": "noop",
        "sessionId": None,
        "payload": {},
        "executionTimeoutSeconds": 600,
    }


def test_a_batch_is_split_where_it_would_not_pass_the_gateway(conn: Connection, gateway: FakeGateway) -> None:
    """No message is larger than 128 KB, and none is lost."""
    for number in range(5):
        put(conn, f"k{number}", payload=json.dumps("x" * 50_000))

    deliver(conn, gateway, "a1", plenty)

    assert [len(json.loads(text)["commands"]) for _, text in gateway.frames] == [2, 2, 1]
    assert all(len(text.encode()) <= MESSAGE_BYTES for _, text in gateway.frames)


def test_many_reports_in_one_message_settle_each_its_own(conn: Connection, gateway: FakeGateway) -> None:
    """One that means nothing stops none of the others."""
    for number in range(6):
        put(conn, f"k{number}", max_attempts=2)
    deliver(conn, gateway, "a1", plenty)

    moved = report(
        conn,
        *(of("ack", f"k{number}") for number in range(5)),
        of("complete", "k0", result={"n": 1}),
        {"kind": "nonsense"},
        of("failed", "k1", error="no"),
        of("failed", "k2", error="later", retryable=True),
        of("progress", "k3", progress={"percent": 40}),
    )

    assert moved
    assert statuses(conn) == {
        "k0": "completed",
        "k1": "failed",
        "k2": "pending",
        "k3": "acknowledged",
        "k4": "acknowledged",
        "k5": "sent",
    }
    assert conn.execute("select progress from agent_commands where command_id = 'k3'").fetchone() == ({"percent": 40},)


def test_a_report_of_an_old_attempt_settles_the_newer_one_only_where_it_is_a_result(
    conn: Connection, gateway: FakeGateway
) -> None:
    """I7: an old ack or failure says nothing of the newer attempt; a late result counts."""
    put(conn, "k1")
    deliver(conn, gateway, "a1", plenty)
    conn.execute("update agent_commands set status = 'pending', ack_deadline = null, cause = 'again'")
    deliver(conn, gateway, "a1", plenty)

    report(conn, of("ack", "k1"), of("failed", "k1", error="no"), of("progress", "k1"))
    after_old_reports = statuses(conn)
    report(conn, of("complete", "k1"))

    assert (after_old_reports, statuses(conn)) == ({"k1": "sent"}, {"k1": "completed"})


def test_a_retryable_failure_is_tried_again_while_attempts_are_left(conn: Connection, gateway: FakeGateway) -> None:
    """After a pause; then it has failed, with the agent's reason."""
    put(conn, "k1", max_attempts=2)

    deliver(conn, gateway, "a1", plenty)
    report(conn, of("failed", "k1", error="busy", retryable=True))
    waits = deliver(conn, gateway, "a1", plenty).claimed
    conn.execute("update agent_commands set not_before = now()")
    deliver(conn, gateway, "a1", plenty)
    report(conn, of("failed", "k1", attempt=2, error="still busy", retryable=True))

    row = conn.execute("select status, attempt, error_message from agent_commands").fetchone()
    assert (waits, row) == (0, ("failed", 2, "still busy"))


def test_a_cancel_is_confirmed_only_where_it_was_asked_for(conn: Connection, gateway: FakeGateway) -> None:
    """An agent cannot cancel by itself."""
    put(conn, "k1")
    put(conn, "k2")
    deliver(conn, gateway, "a1", plenty)
    conn.execute("update agent_commands set cancel_requested_at = now() where command_id = 'k1'")

    report(conn, of("cancelled", "k1"), of("cancelled", "k2"))

    assert statuses(conn) == {"k1": "cancelled", "k2": "sent"}


@pytest.mark.parametrize(
    "query", [{"protocol": "3"}, {"protocol": "2", "window": "0"}, {"protocol": "2", "window": "x"}]
)
def test_a_protocol_that_there_is_not_is_refused_at_the_handshake(query: dict[str, str]) -> None:
    """Rather than spoken wrongly."""
    with pytest.raises(InvalidRequest):
        Handshake.from_query(query)


def test_the_first_protocol_is_what_an_agent_gets_that_asks_for_nothing() -> None:
    """As existing agents do."""
    assert Handshake.from_query({"agent_id": "a1"}) == Handshake()
    assert Handshake.from_query({"protocol": "2", "window": "100"}) == Handshake(mode=DeliveryMode.BATCHING, window=100)
