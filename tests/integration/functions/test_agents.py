"""The function `agents`: create, approve, reject and delete agents, and manage their keys."""

import json

import pytest

from dispatcher.platform.database import Connection
from tests.fakes import FakeGateway
from tests.integration.functions.events import (
    AGENT,
    COMMANDS,
    KEY,
    KEY_ID,
    REGISTER,
    Run,
    admission,
    ask,
    connection_of_sample,
    message_event,
)
from tests.rows import put, statuses


def test_an_agent_is_created_once_and_its_key_is_valid_for_this_agent_only(run: Run, agent: str) -> None:
    """The key is 64 hexadecimal digits and is shown once."""
    _, created = ask(run, "agents", "POST", "/api/v1/agents", {"agentId": "a2", "platform": "docker"})
    again, _ = ask(run, "agents", "POST", "/api/v1/agents", {"agentId": "a2", "platform": "docker"})
    body = {"agentId": "a2", "platform": "docker"}

    answers = [
        ask(run, "agents", "POST", REGISTER, body, role=None, X_Agent_Api_Key=key)[0]
        for key in (created["apiKey"], KEY, "", "x")
    ]
    other = ask(run, "agents", "POST", REGISTER, {**body, "agentId": agent}, role=None, X_Agent_Api_Key=KEY)

    assert again == 409
    assert answers == [200, 401, 401, 401]
    assert other[0] == 200
    assert len(created["apiKey"]) == 64
    assert "pending" not in json.dumps(other[1])


@pytest.mark.usefixtures("agent")
def test_a_revoked_key_is_refused_and_its_connections_are_closed(run: Run, gateway: FakeGateway) -> None:
    """Its connection would last for two hours; the new key works at once."""
    _, issued = ask(run, "agents", "POST", f"/api/v1/agents/{AGENT}/keys")
    before = [admission(run, key) for key in (KEY, issued["apiKey"])]
    run("connect")

    status, _ = ask(run, "agents", "DELETE", f"/api/v1/agents/{AGENT}/keys/{KEY_ID}")

    after = [admission(run, key) for key in (KEY, issued["apiKey"])]
    assert before == ["Allow", "Allow"]
    assert status == 204
    assert after == ["Deny", "Allow"]
    assert gateway.closed == [connection_of_sample()]


@pytest.mark.usefixtures("agent")
def test_the_connection_of_a_rejected_agent_is_closed(run: Run, gateway: FakeGateway) -> None:
    """The agent cannot connect again."""
    run("connect")

    ask(run, "agents", "POST", f"/api/v1/agents/{AGENT}/reject")

    assert len(gateway.closed) == 1
    assert admission(run, KEY) == "Deny"


DECISIONS = {
    "its key is revoked": ("DELETE", f"/api/v1/agents/{AGENT}/keys/{KEY_ID}"),
    "it is rejected": ("POST", f"/api/v1/agents/{AGENT}/reject"),
    "it is deleted": ("DELETE", f"/api/v1/agents/{AGENT}"),
}


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("decision", DECISIONS)
def test_a_connection_that_could_not_be_closed_is_ignored(
    run: Run, conn: Connection, gateway: FakeGateway, decision: str
) -> None:
    """API Gateway may fail to close the connection, which would last for two hours: it is ignored in both directions."""
    run("connect")
    conn.execute("update agents set live = true")
    put(conn, "k1", AGENT, status="acknowledged", attempt=1, epoch=1)
    ask(run, "agents", *DECISIONS[decision])
    gateway.closed.clear()  # as if closing it had failed

    message = {"type": "complete", "payload": {"commandId": "k1"}}
    run("message", message_event(connection_of_sample(), message))
    ask(run, "commands", "POST", COMMANDS, {"action": "noop"})

    assert statuses(conn)["k1"] == ("cancelled" if decision == "it is deleted" else "acknowledged")
    assert gateway.frames == []
    assert gateway.closed == [connection_of_sample()]


def test_deleting_an_agent_keeps_its_commands_and_their_history(run: Run, agent: str, conn: Connection) -> None:
    """The original deleted the commands with the agent."""
    put(conn, "k1", agent, status="completed")
    run("connect")

    status, _ = ask(run, "agents", "DELETE", f"/api/v1/agents/{agent}")

    _, history = ask(run, "commands", "GET", "/api/v1/commands/k1/history")
    assert status == 204
    assert statuses(conn) == {"k1": "completed"}
    assert [entry["toStatus"] for entry in history["history"]] == ["completed"]
