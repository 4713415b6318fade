"""The bugs of StreamSpace (R1 to R35): each situation is repeated, and works here."""

import json
from functools import partial
from typing import Any

import pytest
from psycopg import sql

from dispatcher.commands import command_records
from dispatcher.commands.delivery import deliver
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.gateway import Posted
from dispatcher.platform.observability import logger
from dispatcher.protocol.handshake import DeliveryMode
from dispatcher.sessions import session_records
from tests.fakes import FakeGateway, plenty
from tests.rows import (
    FUTURE,
    PAST,
    connect,
    connect_new_agent,
    create_agent,
    find,
    put,
    put_session,
    receive,
    say,
    statuses,
)


def test_null_in_any_nullable_column_does_not_stop_commands(conn: Connection) -> None:
    """R1 to R4: the database itself names the columns; each command reaches its agent, in order."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=100)
    columns = conn.execute(
        """select column_name from information_schema.columns
           where table_name = 'agent_commands' and is_nullable = 'YES' order by ordinal_position"""
    ).fetchall()
    names = [name for (name,) in columns] + [
        "status",
        "created_at",
        "priority",
        "max_attempts",
        "attempt",
        "cause",
        "moves",
    ]
    for name in names:
        nothing: dict[str, Any] = {name: None}
        put(conn, f"null-{name}", **nothing)
    gateway = FakeGateway()

    swept = sweep(conn, gateway, deadline=plenty)

    (frame,) = gateway.messages
    assert {"error_message", "session_id", "payload"} <= set(names)
    assert [each["commandId"] for each in frame["commands"]] == [f"null-{n}" for n in names]
    assert swept.failed_passes == 0
    assert all(each["payload"] == {} for each in frame["commands"])


def test_a_null_payload_reaches_agents_of_the_first_protocol_as_an_empty_object(conn: Connection) -> None:
    """R1: their decoders expect an object."""
    connect_new_agent(conn)
    put(conn, "k1", payload=None)
    gateway = FakeGateway()

    deliver(conn, gateway, "a1", plenty)

    assert gateway.messages[0]["payload"]["payload"] == {}


def test_an_agent_that_never_acknowledges_has_one_command_without_a_session_at_a_time(conn: Connection) -> None:
    """R3: in SQL, one NULL session_id does not equal another."""
    connect_new_agent(conn, platform="docker")
    put(conn, "k1")
    put(conn, "k2")
    gateway = FakeGateway()

    deliver(conn, gateway, "a1", plenty)

    assert gateway.command_ids == ["k1"]
    assert statuses(conn) == {"k1": "sent", "k2": "pending"}


def test_a_command_for_an_offline_agent_waits_without_an_error(conn: Connection) -> None:
    """R8 to R13: no sweep fails it or uses an attempt; the first sweep after the reconnect sends it once."""
    create_agent(conn)
    put(conn, "k1")
    gateway = FakeGateway()

    for _ in range(3):
        sweep(conn, gateway, deadline=plenty)
    waiting = find(conn)
    connect(conn, window=10)
    for _ in range(3):
        sweep(conn, gateway, deadline=plenty)

    assert waiting.status == "pending"
    assert waiting.attempt == 0
    assert waiting.error_message is None
    assert gateway.command_ids == ["k1"]


@pytest.mark.parametrize("mode", [DeliveryMode.ACKNOWLEDGING, DeliveryMode.BATCHING])
def test_an_ack_that_arrives_before_the_post_has_returned_is_kept(
    conn: Connection, database_url: str, mode: DeliveryMode
) -> None:
    """R15: `sent` is written before the post, and nothing writes it afterwards."""
    connect_new_agent(conn, mode=mode)
    put(conn, "k1")

    def acknowledge(_frame: str) -> None:
        with open_connection(database_url) as other:
            say(other, "ack", commandId="k1")

    deliver(conn, FakeGateway(before_post=acknowledge), "a1", plenty)

    history = [entry.to_status for entry in command_records.history(conn, "k1", None)]
    assert statuses(conn) == {"k1": "acknowledged"}
    assert history == ["pending", "sent", "acknowledged"]


def test_each_frame_is_one_json_document_for_any_command(conn: Connection) -> None:
    """R18: two documents joined by a newline were dropped; no JSON is built by string formatting."""
    connect_new_agent(conn)
    put(conn, "k1", action='say "hello"\n', payload='{"text": "a\\nb \\"c\\" \\\\"}')
    put(conn, "k2")
    gateway = FakeGateway()

    deliver(conn, gateway, "a1", plenty)
    say(conn, "ack", commandId="k1")
    deliver(conn, gateway, "a1", plenty)

    frames = gateway.messages
    assert not any("\n" in text for _, text in gateway.frames)
    assert [frame["payload"]["commandId"] for frame in frames] == ["k1", "k2"]
    assert frames[0]["payload"] == {
        "commandId": "k1",
        "action": 'say "hello"\n',
        "payload": {"text": 'a\nb "c" \\'},
    }


def test_a_post_that_was_not_accepted_is_not_counted_as_sent(conn: Connection) -> None:
    """R19, F9: the command is pending again, and the next connection gets it; nobody has seen the first attempt."""
    connect_new_agent(conn)
    put(conn, "k1")
    gateway = FakeGateway(outcomes=[Posted.GONE])

    sent_to_nobody = deliver(conn, gateway, "a1", plenty).sent
    connect(conn, connection_id="c2")
    sent_to_the_agent = deliver(conn, gateway, "a1", plenty).sent

    command = find(conn)
    assert sent_to_nobody == 0
    assert sent_to_the_agent == 1
    assert command.status == "sent"
    assert command.attempt == 1
    assert command.error_message is None


@pytest.mark.parametrize("result", [{"n": 2**60 + 1}, [1, None], "done", 0, False])
def test_the_result_of_a_completed_command_is_kept(conn: Connection, result: Any) -> None:
    """R26: of every JSON type, and with every digit."""
    connect_new_agent(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    say(conn, "complete", commandId="k1", result=result)

    command = find(conn)
    assert command.status == "completed"
    assert command.result == result


def test_a_result_that_postgresql_cannot_store_completes_its_command(conn: Connection) -> None:
    """R26: U+0000 and lone surrogates are replaced."""
    connect_new_agent(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    say(conn, "complete", commandId="k1", result={"text": "a\0b", "other\0": ["\ud800"]})

    command = find(conn)
    assert command.status == "completed"
    assert command.result["text"] == "a\ufffdb"


def test_commands_go_in_the_order_of_acceptance_for_any_created_at(conn: Connection) -> None:
    """R27: a row that is inserted later is sent later, even with an earlier created_at; a higher priority is sent first."""
    connect_new_agent(conn)
    put(conn, "k1")
    put(conn, "k2", created_at=PAST)
    put(conn, "k3", priority=1)
    gateway = FakeGateway()

    for _ in range(3):
        deliver(conn, gateway, "a1", plenty)
        say(conn, "complete", commandId=gateway.command_ids[-1])

    assert gateway.command_ids == ["k3", "k1", "k2"]


def test_a_created_at_in_the_future_is_replaced_by_the_time_of_the_insert(conn: Connection) -> None:
    """I12: the client's clock may be wrong; only the database's clock counts."""
    create_agent(conn)
    put(conn, "k1", created_at=FUTURE)

    assert conn.execute("select created_at <= now() from agent_commands").fetchone() == (True,)


def test_a_docker_agents_answers_settle_the_command_of_their_session(conn: Connection) -> None:
    """The original dropped command_response and command_error; here they also change the state of the session."""
    connect_new_agent(conn, platform="docker")
    for name in ("s1", "s2"):
        put_session(conn, name)
        put(conn, f"k-{name}", action="start_session", session_id=name)
    put(conn, "k-odd", action="reboot")
    deliver(conn, FakeGateway(), "a1", plenty)

    for answer in (
        {"type": "command_response", "sessionId": "s1", "success": True, "status": "running", "timestamp": 1795420436},
        {"type": "command_response", "sessionId": "s2", "success": False, "error": "no image", "timestamp": 1795420436},
        {"type": "command_error", "commandId": "k-odd", "error": "unknown command action: reboot"},
    ):
        assert receive(conn, "a1", "c1", json.dumps(answer))

    assert statuses(conn) == {"k-s1": "completed", "k-s2": "failed", "k-odd": "failed"}
    states = conn.execute("select name, state from sessions order by name").fetchall()
    assert states == [("s1", "running"), ("s2", "failed")]


def test_a_report_that_moved_no_row_is_logged_as_a_warning_and_not_as_success(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I9: a failure after the end, and a command that does not exist."""
    connect_new_agent(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    say(conn, "complete", commandId="k1")
    events: list[tuple[str, str, Any]] = []

    def note(level: str, event: str, *, extra: dict[str, Any]) -> None:
        events.append((level, event, extra.get("status")))

    for level in ("info", "warning"):
        monkeypatch.setattr(logger, level, partial(note, level))

    moved = [say(conn, "failed", commandId=command_id, error="late") for command_id in ("k1", "k2")]

    assert moved == [False, False]
    assert statuses(conn) == {"k1": "completed"}
    assert events == [
        ("warning", "Report moved nothing", "completed"),
        ("warning", "Report moved nothing", "not of this agent"),
    ]


@pytest.mark.parametrize("name", ["agent_commands_due", "agent_commands_overdue", "agent_commands_under_way"])
def test_a_fresh_installation_has_the_indexes_and_columns_that_it_needs(conn: Connection, name: str) -> None:
    """R6, R7: the same function applies the schema everywhere, and a status update finds its columns."""
    create_agent(conn)
    put_session(conn, "s1")

    noted = session_records.set_state(conn, "a1", "s1", "running")

    index = sql.SQL("select to_regclass({}) is not null").format(name)
    assert noted
    assert conn.execute(index).fetchone() == (True,)
