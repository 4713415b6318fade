"""The function `message`: an agent's reports are settled, and its next command is sent."""

import base64
import json
from typing import Any

import psycopg
import pytest

from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway
from tests.integration.functions.events import AGENT, Run, connection_of_sample, message_event
from tests.rows import (
    connect,
    connect_new_agent,
    interrupt_once,
    put,
    report_of,
    statuses,
)


def test_an_ack_opens_the_window_for_the_next_command(
    run: Run, agent: str, conn: Connection, gateway: FakeGateway
) -> None:
    """In the same invocation: the next command does not wait for a sweep."""
    connect(conn, agent, "c1")
    put(conn, "k1", agent)
    put(conn, "k2", agent)
    run("message", message_event("c1", {"type": "heartbeat"}))

    run("message", message_event("c1", {"type": "ack", "payload": {"commandId": "k1"}}))

    assert gateway.command_ids == ["k1", "k2"]
    assert statuses(conn) == {"k1": "acknowledged", "k2": "sent"}


@pytest.mark.parametrize("code", ["40P01", "40001", "57P01"])
def test_a_report_is_settled_although_the_database_interrupts_it(
    run: Run, agent: str, conn: Connection, code: str
) -> None:
    """R25: an agent of the first protocol sends each report once."""
    connect(conn, agent, "c1")
    put(conn, "k1", agent, status="acknowledged", attempt=1, epoch=1)
    interrupt_once(conn, "agent_commands", code)

    run("message", message_event("c1", {"type": "complete", "payload": {"commandId": "k1"}}))

    assert statuses(conn) == {"k1": "completed"}


def test_a_bad_frame_raises_no_error_and_changes_nothing(run: Run, agent: str, conn: Connection) -> None:
    """The connection stays open."""
    connect(conn, agent, "c1")
    put(conn, "k1", agent, status="sent", attempt=1, epoch=1)

    for body in ("", "{", "[]", '{"type": 1}', '{"type": "ack", "payload": {"commandId": 1}}', "\0", "[" * 9999):
        assert run("message", message_event("c1", body)) == {"statusCode": 200}
    assert run("message", message_event("c1", "//4=") | {"isBase64Encoded": True}) == {"statusCode": 200}

    assert statuses(conn) == {"k1": "sent"}


def test_a_binary_message_means_the_same_as_a_text_message(run: Run, agent: str, conn: Connection) -> None:
    """API Gateway encodes binary messages with base64."""
    connect(conn, agent, "c1")
    put(conn, "k1", agent, status="sent", attempt=1, epoch=1)
    body = json.dumps({"type": "ack", "payload": {"commandId": "k1"}})

    encoded = base64.b64encode(body.encode()).decode()
    run("message", message_event("c1", encoded) | {"isBase64Encoded": True})

    assert statuses(conn) == {"k1": "acknowledged"}


@pytest.mark.usefixtures("agent")
def test_every_message_of_an_agent_is_a_sign_of_life(run: Run, conn: Connection) -> None:
    """R21: an agent that sends only acks stays online; a disconnect event is the last sign of life."""
    run("connect")
    ack = message_event(connection_of_sample(), {"type": "ack", "payload": {"commandId": "k"}})
    for function, event in (("message", ack), ("disconnect", None)):
        conn.execute("update agents set last_seen_at = now() - interval '10 minutes'")

        run(function, event)

        seen = conn.execute("select now() - last_seen_at < interval '5 minutes' from agents").fetchone()
        assert seen == (True,), function


@pytest.mark.usefixtures("agent")
def test_an_agent_over_its_rate_loses_its_connection_and_no_report(
    run: Run, conn: Connection, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reports are settled; it reconnects after a pause."""
    monkeypatch.setenv("AGENT_RATE", "2")
    run("connect")

    def minute() -> object:
        return conn.execute("select date_trunc('minute', clock_timestamp())").fetchone()

    def complete_four_commands(prefix: str) -> list[int]:
        gateway.closed.clear()
        for number in range(4):
            put(conn, f"{prefix}{number}", AGENT, status="sent", attempt=1, epoch=1)
        closed: list[int] = []
        for number in range(4):
            report = {"type": "complete", "payload": {"commandId": f"{prefix}{number}"}}
            run("message", message_event(connection_of_sample(), report))
            closed.append(len(gateway.closed))
        return closed

    begun = minute()
    closed = complete_four_commands("a")
    if minute() != begun:  # the count starts again with each minute
        conn.execute("update agents set messages = 0")
        closed = complete_four_commands("b")

    assert closed == [0, 0, 1, 2]
    assert set(statuses(conn).values()) == {"completed"}


REPORTS: list[dict[str, Any]] = [
    {"type": "ack", "payload": {"commandId": "k1"}},
    {"type": "complete", "payload": {"commandId": "k1"}},
    {"type": "failed", "payload": {"commandId": "k1", "error": "no"}},
    {"type": "command_error", "commandId": "k1", "error": "no"},
    {"type": "command_response", "sessionId": "s1", "success": True},
    {"type": "command_response", "sessionId": "s1", "success": False},
    *(
        {"type": "reports", "reports": [report]}
        for report in (
            report_of("ack"),
            report_of("progress", progress=1),
            report_of("complete"),
            report_of("cancelled"),
            report_of("failed"),
            report_of("failed", retryable=True),
        )
    ),
]


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("status", ["sent", "acknowledged"])
@pytest.mark.parametrize("frame", REPORTS, ids=lambda frame: json.dumps(frame)[:70])
def test_no_agent_settles_another_agents_command(
    run: Run, conn: Connection, frame: dict[str, Any], status: str
) -> None:
    """I9: only the authenticated id counts, not an id in the message."""
    connect(conn, AGENT, "c-agent")
    connect_new_agent(conn, "other", "c-other")
    put(conn, "k1", "other", session_id="s1", status=status, attempt=1, epoch=1, cancel_requested_at="2026-01-01")
    before = conn.execute("select * from agent_commands").fetchall()

    run("message", message_event("c-agent", frame))

    assert conn.execute("select * from agent_commands").fetchall() == before


def test_a_command_that_a_resume_returned_is_sent_again_in_the_same_invocation(
    run: Run, agent: str, conn: Connection, gateway: FakeGateway
) -> None:
    """It does not wait for a sweep."""
    connect(conn, agent, "c1", mode=DeliveryMode.BATCHING, window=9)
    put(conn, "k1", agent, status="acknowledged", attempt=1, epoch=1, redeliver_after_ack=True)
    connect(conn, agent, "c2", mode=DeliveryMode.BATCHING, window=9)

    run("message", message_event("c2", {"type": "resume", "running": []}))

    (message,) = gateway.messages
    assert [(each["commandId"], each["attempt"]) for each in message["commands"]] == [("k1", 2)]


def test_reports_with_an_id_are_confirmed_after_their_commit(
    run: Run, agent: str, conn: Connection, gateway: FakeGateway
) -> None:
    """I17: the agent keeps them until then; a message without an id gets no answer."""
    connect(conn, agent, "c1", mode=DeliveryMode.BATCHING, window=9)
    put(conn, "k1", agent, status="sent", attempt=1, epoch=1)
    settled: list[dict[str, str]] = []
    gateway.before_post = lambda _frame: settled.append(statuses(conn))
    message: dict[str, Any] = {"type": "reports", "id": "r-1", "reports": [report_of("complete")]}

    bodies: list[dict[str, Any]] = [message, message, {**message, "id": None}, {**message, "id": "r-2", "reports": []}]
    for body in bodies:
        run("message", message_event("c1", body))

    confirmed = [{"type": "received", "id": each} for each in ("r-1", "r-1", "r-2")]
    assert gateway.messages == confirmed
    assert settled[0] == {"k1": "completed"}


def test_reports_that_could_not_be_settled_are_not_confirmed(
    run: Run, agent: str, conn: Connection, gateway: FakeGateway
) -> None:
    """The agent says them again over its next connection."""
    connect(conn, agent, "c1", mode=DeliveryMode.BATCHING, window=9)
    put(conn, "k1", agent, status="sent", attempt=1, epoch=1)
    conn.execute("alter table agent_commands add check (status <> 'completed')")

    with pytest.raises(psycopg.errors.CheckViolation):
        run("message", message_event("c1", {"type": "reports", "id": "r-1", "reports": [report_of("complete")]}))

    assert gateway.frames == []


def test_a_message_that_settles_delivers_what_the_window_then_admits(
    run: Run, agent: str, conn: Connection, gateway: FakeGateway
) -> None:
    """Protocol 2: the confirmation comes first, then the next commands in one message."""
    connect(conn, agent, "c1", mode=DeliveryMode.BATCHING, window=2)
    for number in range(4):
        put(conn, f"k{number}", agent)
    run("message", message_event("c1", {"type": "heartbeat"}))
    gateway.frames.clear()

    reports = [report_of("ack", "k0"), report_of("complete", "k1")]
    run("message", message_event("c1", {"type": "reports", "id": "r", "reports": reports}))

    first, second = gateway.messages
    assert first == {"type": "received", "id": "r"}
    assert [each["commandId"] for each in second["commands"]] == ["k2", "k3"]


def test_a_heartbeat_has_its_own_function_which_settles_what_else_it_gets(
    run: Run, agent: str, conn: Connection, gateway: FakeGateway
) -> None:
    """Heartbeats do not stand in the way of results; one more look finds a command that was missed."""
    connect(conn, agent, "c1")
    put(conn, "k1", agent)
    conn.execute("update agents set last_seen_at = now() - interval '10 minutes'")

    run("heartbeat", message_event("c1", {"type": "heartbeat", "payload": {"activeSessions": 3}}))
    run("heartbeat", message_event("c1", {"type": "complete", "payload": {"commandId": "k1"}}))

    row = conn.execute("select now() - last_seen_at < interval '1 minute', active_sessions from agents").fetchone()
    assert row == (True, 3)
    assert gateway.command_ids == ["k1"]
    assert statuses(conn) == {"k1": "completed"}


def test_late_reports_are_settled_by_their_own_function(
    run: Run, agent: str, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells the queue which messages must come again: here all of them, while the database cannot be reached."""
    connect(conn, agent, "c1")
    put(conn, "k1", agent, status="acknowledged", attempt=1, epoch=1)
    said = {"agent_id": agent, "connection_id": "c1", "key_id": None}
    text = json.dumps({"type": "complete", "payload": {"commandId": "k1"}})
    attributes = {"MessageGroupId": "g", "ApproximateReceiveCount": "1"}
    record = {"messageId": "m1", "body": json.dumps({**said, "text": text}), "attributes": attributes}
    with monkeypatch.context() as outage:
        outage.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
        during = run("late_reports", {"Records": [record]})

    after = run("late_reports", {"Records": [record]})

    assert during == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    assert after == {"batchItemFailures": []}
    assert statuses(conn) == {"k1": "completed"}
