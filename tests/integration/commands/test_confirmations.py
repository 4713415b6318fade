"""Confirmations: an agent of protocol 2 learns which of its reports are committed, in few messages."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dispatcher.commands import conversation
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Posted
from dispatcher.protocol.frames import ENVELOPE_BYTES, MESSAGE_BYTES
from dispatcher.protocol.handshake import DeliveryMode
from dispatcher.protocol.said import Said
from dispatcher.sessions.session_records import SessionStates
from tests.fakes import FakeGateway, plenty
from tests.function_environment import function_environment
from tests.rows import connect_new_agent, put, report_of, statuses


@pytest.fixture(autouse=True)
def _agent(conn: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An agent that executes `k1`; its window has room for nothing else."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=1)
    put(conn, "k1", status="sent", attempt=1, epoch=1)
    with function_environment(database_url, monkeypatch):
        yield


def report_the_end(gateway: FakeGateway, **members: Any) -> list[Any]:
    """Say that `k1` is done; return what the service answers, without the commands' contents."""
    body = {"type": "reports", "id": "r", "reports": [report_of("ack", "k1"), report_of("complete", "k1")], **members}
    said = Said(agent_id="a1", connection_id="c1", text=json.dumps(body))
    conversation.handle(said, "e", gateway, SessionStates(), plenty)
    return [
        (
            message["type"],
            message.get("id", message.get("received")),
            [c["commandId"] for c in message.get("commands", [])],
        )
        for message in gateway.messages
    ]


def test_it_comes_with_the_commands_if_the_agent_says_so(conn: Connection) -> None:
    """One message instead of two."""
    put(conn, "k2")

    assert report_the_end(FakeGateway(), receivedInCommands=True) == [("commands", ["r"], ["k2"])]


@pytest.mark.parametrize("members", [{}, {"receivedInCommands": False}, {"receivedInCommands": "yes"}])
def test_it_is_a_message_of_its_own_otherwise(conn: Connection, members: dict[str, Any]) -> None:
    """Older agents know no other."""
    put(conn, "k2")

    assert report_the_end(FakeGateway(), **members) == [("received", "r", []), ("commands", None, ["k2"])]


def test_it_is_a_message_of_its_own_where_nothing_waits() -> None:
    """There is no message of commands to come with."""
    assert report_the_end(FakeGateway(), receivedInCommands=True) == [("received", "r", [])]


@pytest.mark.parametrize("refusal", [Posted.REFUSED, Posted.GONE])
def test_it_is_repeated_if_the_commands_were_not_taken(conn: Connection, refusal: Posted) -> None:
    """The reports are committed all the same; the commands wait for the next delivery."""
    put(conn, "k2")

    assert report_the_end(FakeGateway(outcomes=[refusal]), receivedInCommands=True) == [("received", "r", [])]
    assert statuses(conn) == {"k1": "completed", "k2": "pending"}


def test_it_is_repeated_if_nobody_knows_whether_the_commands_arrived(conn: Connection) -> None:
    """An agent may hear twice that its reports are received."""
    put(conn, "k2")

    answers = report_the_end(FakeGateway(outcomes=[Posted.UNKNOWN]), receivedInCommands=True)

    assert answers == [("commands", ["r"], ["k2"]), ("received", "r", [])]


def test_a_command_that_fills_a_message_leaves_no_room_for_it(conn: Connection) -> None:
    """It is delivered as if nothing were to confirm."""
    entry = '{"action": "noop", "attempt": 1, "payload": {"x": ""}, "commandId": "k2", "sessionId": null,'
    entry += ' "executionTimeoutSeconds": 600}'
    room = MESSAGE_BYTES - ENVELOPE_BYTES - len(entry)
    put(conn, "k2", payload=json.dumps({"x": "x" * (room - 2)}))

    assert report_the_end(FakeGateway(), receivedInCommands=True) == [("commands", None, ["k2"]), ("received", "r", [])]
