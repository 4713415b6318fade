"""Reports: every message of an agent is understood or logged, and changes only its own rows."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dispatcher.commands.delivery import deliver
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import connect_new_agent, find, put, put_session, receive, report, report_of, say, statuses

IDS = ["mine", "theirs", "none", "", "\0", "\ud800", "a" * 10_000, "' or true --"]
KINDS = [
    *("ack", "complete", "failed", "command_error", "command_response", "status", "vnc_ready", "heartbeat", "pong"),
    *("shutdown_ack", "reports", "progress", "cancelled", "nonsense", ""),
]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(IDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "commandId": st.sampled_from(IDS) | anything,
        "sessionId": st.sampled_from(IDS) | anything,
        "attempt": st.integers() | anything,
        "result": anything,
        "progress": anything,
        "error": anything,
        "state": st.sampled_from(["running", "terminated", "?"]) | anything,
        "success": anything,
        "retryable": anything,
        "capacity": anything,
        "activeSessions": anything,
        "timestamp": anything,
    },
)


def _message(kind: str, flat: dict[str, Any], wrapped: dict[str, Any], reports: list[dict[str, Any]]) -> str:
    return json.dumps({**flat, "type": kind, **({"payload": wrapped} if wrapped else {}), "reports": reports})


messages = st.builds(
    _message,
    st.sampled_from(KINDS),
    fields,
    fields,
    st.lists(fields.flatmap(lambda some: st.sampled_from(KINDS).map(lambda kind: {**some, "kind": kind})), max_size=3),
)


@hypothesis_settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=messages | anything.map(json.dumps) | st.text())
def test_no_message_raises_an_error_or_changes_another_agents_rows(conn: Connection, text: str) -> None:
    """Two agents, each with a command and a session under way; one of them sends anything."""
    if not statuses(conn):
        for agent_id, command_id in (("a1", "mine"), ("a2", "theirs")):
            connect_new_agent(conn, agent_id, f"c-{agent_id}", mode=DeliveryMode.BATCHING)
            put(conn, command_id, agent_id, session_id=command_id)
            put_session(conn, command_id, agent_id)
            deliver(conn, FakeGateway(), agent_id, plenty)

    receive(conn, "a1", "c-a1", text)

    assert statuses(conn)["theirs"] == "sent"
    untouched = conn.execute("select state, details from sessions where name = 'theirs'").fetchone()
    seen = conn.execute("select last_seen_at = connected_at from agents where agent_id = 'a2'").fetchone()
    assert untouched == ("pending", None)
    assert seen == (True,)


def test_each_report_in_a_message_settles_its_own_command(conn: Connection) -> None:
    """A meaningless report does not stop the others."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=32)
    gateway = FakeGateway()
    for number in range(6):
        put(conn, f"k{number}", max_attempts=2)
    deliver(conn, gateway, "a1", plenty)

    moved = report(
        conn,
        *(report_of("ack", f"k{number}") for number in range(5)),
        report_of("complete", "k0", result={"n": 1}),
        {"kind": "nonsense"},
        report_of("failed", "k1", error="no"),
        report_of("failed", "k2", error="later", retryable=True),
        report_of("progress", "k3", progress={"percent": 40}),
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
    assert find(conn, "k3").progress == {"percent": 40}


@pytest.mark.parametrize("command_id", ["a\nb", "a\tb", "a\u202eb", "x" * 300, "\N{HIGH VOLTAGE SIGN}"])
def test_a_row_with_an_odd_id_can_be_reported(conn: Connection, command_id: str) -> None:
    """An operator with psql can choose any id."""
    connect_new_agent(conn)
    put(conn, command_id, status="sent", attempt=1, epoch=1)

    say(conn, "complete", commandId=command_id)

    assert statuses(conn) == {command_id: "completed"}


@pytest.mark.parametrize(
    "result",
    ["[" * 300 + "]" * 300, "[" * 600 + "]" * 600, "7" * 6000, "1e999", '{"a": ' * 250 + "1" + "}" * 250],
    ids=["300 levels", "600 levels", "6000 digits", "beyond a double", "250 objects"],
)
def test_a_result_that_cannot_be_decoded_is_stored_as_text(conn: Connection, result: str) -> None:
    """The command is completed nevertheless."""
    connect_new_agent(conn)
    put(conn, "k1", status="acknowledged", attempt=1, epoch=1)

    receive(conn, "a1", "c1", f'{{"type": "complete", "payload": {{"commandId": "k1", "result": {result}}}}}')

    command = find(conn)
    assert command.status == "completed"
    assert isinstance(command.result, str)
    assert len(command.result) > 4
