"""The contract, tested from outside: HTTP, WebSocket and psql on a running dispatcher."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from local.http_client import Client, Refused
from tests.e2e.conftest import Agent
from tests.e2e.dispatcher_process import Dispatcher, until
from tests.rows import put

CreateAgent = Callable[..., tuple[str, str]]
JSON_TYPES = ['{"a": {"b": [1]}}', "[1, 2]", '"text"', "9007199254740993", "1.5e300", "true", "null", "{}", "1e400"]


def status_of(client: Client, command_id: str) -> str:
    """Read a command's status."""
    status: str = client.get(f"/api/v1/commands/{command_id}")["status"]
    return status


def test_a_command_for_an_offline_agent_reaches_it_when_it_is_back(
    dispatcher: Dispatcher, client: Client, create_agent: CreateAgent
) -> None:
    """Test 3.2, with an agent written for the tests."""
    agent_id, key = create_agent()
    agent = Agent(dispatcher.url, agent_id, key)
    session = client.post("/api/v1/sessions", {"user": "admin", "template": "firefox-browser", "agentId": agent_id})
    until(lambda: client.get(f"/api/v1/sessions/{session['name']}")["state"] == "running")
    agent.close()
    until(lambda: client.get(f"/api/v1/agents/{agent_id}")["presence"] == "offline")

    command_id = client.delete(f"/api/v1/sessions/{session['name']}")["commandId"]
    with dispatcher.database() as conn:
        waiting = conn.execute(
            "select status, error_message from agent_commands where command_id = %s", (command_id,)
        ).fetchone()
    back = Agent(dispatcher.url, agent_id, key)

    assert waiting == ("pending", None)
    until(lambda: status_of(client, command_id) == "completed")
    moves = [entry["toStatus"] for entry in client.get(f"/api/v1/commands/{command_id}/history")["history"]]
    assert (moves, back.commands) == (["pending", "sent", "acknowledged", "completed"], [command_id])
    back.close()


def test_whoever_follows_the_feed_sees_what_happens_when_it_happens(
    dispatcher: Dispatcher, client: Client, create_agent: CreateAgent
) -> None:
    """Each page waits for the next events of one agent."""
    agent_id, key = create_agent()
    after, types = client.get("/api/v1/events")["after"], list[str]()
    agent = Agent(dispatcher.url, agent_id, key)
    body = {"user": "admin", "template": "firefox-browser", "agentId": agent_id}
    command_id = client.post("/api/v1/sessions", body)["commandId"]

    while "command.completed" not in types:
        page = client.get(f"/api/v1/events?after={after}&agentId={agent_id}&wait=10")
        after = page["after"]
        types += [event["type"] for event in page["events"]]
        assert page["events"], types
        assert {event.get("commandId", command_id) for event in page["events"]} == {command_id}
    agent.close()

    assert "agent.connected" in types
    assert [kind for kind in types if kind.startswith("command.")] == [
        "command.accepted",
        "command.sent",
        "command.acknowledged",
        "command.completed",
    ]
    gone = client.get(f"/api/v1/events?after={after}&agentId={agent_id}&types=agent.disconnected&wait=10")
    assert [event["agentId"] for event in gone["events"]] == [agent_id]


def test_rows_inserted_with_psql_are_delivered_with_null_in_any_column(
    dispatcher: Dispatcher, client: Client, create_agent: CreateAgent
) -> None:
    """NULL in each nullable column in turn, every type of JSON, and one row with an unknown status."""
    agent_id, key = create_agent()
    expected: list[str] = []
    with dispatcher.database() as conn:
        columns = [
            name
            for (name,) in conn.execute(
                """select column_name from information_schema.columns
                   where table_name = 'agent_commands' and is_nullable = 'YES'"""
            ).fetchall()
        ]
        assert "error_message" in columns
        assert "session_id" in columns
        for name in [*columns, "status", "created_at", "priority", "max_attempts"]:
            nothing: dict[str, Any] = {name: None}
            put(conn, f"null-{name}", agent_id, **nothing)
            expected.append(f"null-{name}")
        put(conn, "unknown-status", agent_id, status="whatever")
        for number, payload in enumerate(JSON_TYPES):
            put(conn, f"json-{number}", agent_id, payload=payload)
            expected.append(f"json-{number}")

    agent = Agent(dispatcher.url, agent_id, key)

    until(lambda: len(agent.commands) == len(expected))
    assert agent.commands == expected
    until(lambda: status_of(client, expected[-1]) == "completed")
    set_aside = client.get("/api/v1/commands/unknown-status")
    assert (set_aside["status"], set_aside["errorMessage"]) == ("dead", 'set aside: unknown status "whatever"')
    payloads = {}
    while not agent.received.empty():
        frame = agent.received.get()["payload"]
        payloads[frame["commandId"]] = frame["payload"]
    assert payloads["json-3"] == 9007199254740993
    assert payloads["null-payload"] == {}
    agent.close()


def test_the_sweep_finds_a_row_inserted_with_psql_for_a_connected_agent(
    dispatcher: Dispatcher, client: Client, create_agent: CreateAgent
) -> None:
    """No function call announced the row; the log contains what the sweep loaded."""
    agent_id, key = create_agent()
    agent = Agent(dispatcher.url, agent_id, key)
    with dispatcher.database() as conn:
        # After flush has run, only the sweep looks.
        until(lambda: conn.execute("select live from agents where agent_id = %s", (agent_id,)).fetchone() == (True,))
        time.sleep(0.2)
        put(conn, "swept", agent_id)

    until(lambda: status_of(client, "swept") == "completed")

    assert "Loaded 1 pending commands" in dispatcher.log
    agent.close()


def test_a_bad_frame_is_logged_with_the_agents_id_and_the_connection_stays_open(
    dispatcher: Dispatcher, client: Client, create_agent: CreateAgent
) -> None:
    """An agent's mistake does not close its connection."""
    agent_id, key = create_agent()
    agent = Agent(dispatcher.url, agent_id, key)

    for bad in ("", "{", "[]", "null", '{"type": 1}', '{"type": "nonsense"}', '{"type": "ack"}', "[" * 10_000, "😀"):
        agent.socket.send(bad)
    agent.socket.send(b"\xff\xfe")
    command_id = client.post(f"/api/v1/agents/{agent_id}/commands", {"action": "noop"})["commandId"]

    until(lambda: status_of(client, command_id) == "completed")
    reported = [json.loads(line) for line in dispatcher.log.splitlines() if '"Bad frame"' in line]
    assert len([line for line in reported if line["agent_id"] == agent_id]) == 10
    agent.close()


@pytest.mark.parametrize("key", ["", "x", "0" * 64])
def test_a_wrong_key_neither_connects_nor_registers(
    dispatcher: Dispatcher, create_agent: CreateAgent, key: str
) -> None:
    """The answer is the same for an existing and for an unknown agent."""
    agent_id, _ = create_agent(suffix=f"-{len(key)}")

    for name in (agent_id, "unknown"):
        with pytest.raises(InvalidStatus) as refused:
            Agent(dispatcher.url, name, key)
        assert refused.value.response.status_code == 403
        with pytest.raises(Refused) as problem:
            Client(url=dispatcher.url).post(
                "/api/v1/agents/register", {"agentId": name, "platform": "docker"}, X_Agent_Api_Key=key
            )
        assert problem.value.status == 401


def test_the_last_connection_wins_and_the_older_one_is_closed(
    dispatcher: Dispatcher, client: Client, create_agent: CreateAgent
) -> None:
    """The late close of the older connection does not take the agent offline."""
    agent_id, key = create_agent()
    older = Agent(dispatcher.url, agent_id, key)
    newer = Agent(dispatcher.url, agent_id, key)
    until(lambda: older.socket.protocol.close_code is not None)

    command_id = client.post(f"/api/v1/agents/{agent_id}/commands", {"action": "noop"})["commandId"]

    until(lambda: status_of(client, command_id) == "completed")
    assert (older.commands, newer.commands) == ([], [command_id])
    assert client.get(f"/api/v1/agents/{agent_id}")["presence"] == "online"
    newer.close()


def test_a_docker_agent_answers_by_session_and_gets_one_command_a_session(
    dispatcher: Dispatcher, client: Client, create_agent: CreateAgent
) -> None:
    """It never acknowledges, and its answers contain no command id."""
    agent_id, key = create_agent("docker")

    def answer(command: dict[str, Any]) -> list[Any]:
        session = command["payload"].get("sessionId")
        if command["action"] == "reboot":
            error = "unknown command action: reboot"
            return [{"commandId": command["commandId"], "error": error, "type": "command_error"}]
        return [
            {"sessionId": session, "status": "running", "success": True, "timestamp": 1, "type": "command_response"}
        ]

    path = f"/api/v1/agents/{agent_id}/commands"
    sent = [
        client.post(path, {"action": action, "sessionId": "s1", "payload": {"sessionId": "s1"}})["commandId"]
        for action in ("start_session", "stop_session", "reboot")
    ]
    agent = Agent(dispatcher.url, agent_id, key, answer)

    until(lambda: [status_of(client, one) for one in sent] == ["completed", "completed", "failed"])
    assert agent.commands == sent
    assert client.get(f"/api/v1/commands/{sent[2]}")["errorMessage"] == "unknown command action: reboot"
    agent.close()


def test_pending_commands_survive_a_kill_of_the_whole_dispatcher(
    dispatcher: Dispatcher, client: Client, create_agent: CreateAgent
) -> None:
    """It starts again and delivers, in order."""
    agent_id, key = create_agent()
    sent = [client.post(f"/api/v1/agents/{agent_id}/commands", {"action": "noop"})["commandId"] for _ in range(5)]

    dispatcher.kill()
    dispatcher.start()

    agent = Agent(dispatcher.url, agent_id, key)
    until(lambda: len(agent.commands) == 5)
    assert agent.commands == sent
    agent.close()
