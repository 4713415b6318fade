"""The audit log: who did what, and from which address."""

import json

import pytest
from psycopg import errors

from dispatcher.platform.database import Connection
from tests.integration.functions.events import Run, ask
from tests.rows import create_agent, put


def test_the_audit_log_records_every_action_and_refuses_changes(run: Run, conn: Connection) -> None:
    """Entries are only added, never changed, and contain no secret."""
    created = ask(run, "agents", "POST", "/api/v1/agents", {"agentId": "a1", "platform": "p"})[1]
    command = ask(run, "commands", "POST", "/api/v1/agents/a1/commands", {"action": "noop", "payload": "secret"})[1]
    ask(run, "commands", "POST", f"/api/v1/commands/{command['commandId']}/cancel")
    ask(run, "agents", "DELETE", "/api/v1/agents/a1")

    entries = ask(run, "operators", "GET", "/api/v1/audit?agentId=a1")[1]["entries"]

    assert [(entry["actor"], entry["sourceIp"], entry["action"], entry["commandId"]) for entry in entries] == [
        ("the-admin", "192.0.2.1", "delete agent", None),
        ("the-admin", "192.0.2.1", "cancel command", command["commandId"]),
        ("the-admin", "192.0.2.1", "submit command", command["commandId"]),
        ("the-admin", "192.0.2.1", "provide agent", None),
    ]
    assert created["apiKey"] not in json.dumps(entries)
    assert "secret" not in json.dumps(entries)
    changes = ("delete from audit_log", "update audit_log set actor = 'nobody'", "truncate audit_log")
    for statement in (*changes, "truncate audit_log, operators cascade"):
        with pytest.raises(errors.InsufficientPrivilege):
            conn.execute(statement)
    history = ask(run, "commands", "GET", f"/api/v1/commands/{command['commandId']}/history")[1]["history"]
    assert [entry["toStatus"] for entry in history] == ["pending", "cancelled"]


def test_a_list_has_one_entry_for_each_agent_and_each_of_its_commands_finds_it(run: Run) -> None:
    """With the number of its commands; one that is alone for its agent has an entry like a single one."""
    for agent_id in ("a1", "a2"):
        ask(run, "agents", "POST", "/api/v1/agents", {"agentId": agent_id, "platform": "p"})
    asked = [{"agentId": agent_id, "action": "restart"} for agent_id in ("a1", "a2", "a1")]

    first, alone, second = ask(run, "commands", "POST", "/api/v1/commands", asked)[1]["commands"]
    another = ask(run, "commands", "POST", "/api/v1/commands", asked[::2])[1]["commands"][0]

    found = {
        name: ask(run, "operators", "GET", f"/api/v1/audit?commandId={command['commandId']}")[1]["entries"]
        for name, command in {"first": first, "alone": alone, "second": second, "another": another}.items()
    }
    assert [(each["agentId"], each["commandId"], each["detail"]["commands"]) for each in found["first"]] == [
        ("a1", None, 2)
    ]
    assert found["first"][0]["commandIds"] == [first["commandId"], second["commandId"]]
    assert found["second"] == found["first"]
    assert [(each["agentId"], each["commandId"]) for each in found["alone"]] == [("a2", alone["commandId"])]
    assert "commands" not in found["alone"][0]["detail"]
    assert [each["detail"]["commands"] for each in found["another"]] == [2]
    assert found["another"] != found["first"]
    assert found["alone"][0]["commandIds"] is None
    assert ask(run, "operators", "GET", "/api/v1/audit?commandId=unknown")[1]["entries"] == []


def test_an_entry_names_the_first_hundred_commands_of_a_list_and_any_of_them_finds_it(run: Run) -> None:
    """Otherwise a page of such entries would be too large for an answer."""
    ask(run, "agents", "POST", "/api/v1/agents", {"agentId": "a1", "platform": "p"})
    asked = [{"agentId": "a1", "action": "restart"}] * 101

    *first, last = ask(run, "commands", "POST", "/api/v1/commands", asked)[1]["commands"]

    [entry] = ask(run, "operators", "GET", f"/api/v1/audit?commandId={last['commandId']}")[1]["entries"]
    assert entry["commandIds"] == [each["commandId"] for each in first]
    assert entry["detail"]["commands"] == 101


def test_commands_that_are_redriven_together_have_an_entry_each(run: Run, conn: Connection) -> None:
    """Which says what it redrives."""
    create_agent(conn)
    for command_id in ("k1", "k2"):
        put(conn, command_id, status="dead")

    ask(run, "commands", "POST", "/api/v1/commands/redrive", {"filter": {"agentId": "a1"}, "expectedCount": 2})

    entries = ask(run, "operators", "GET", "/api/v1/audit?agentId=a1")[1]["entries"]
    submitted = [each["detail"] for each in entries if each["action"] == "submit command"]
    assert sorted(each["redriveOf"] for each in submitted) == ["k1", "k2"]
    assert all("commands" not in each for each in submitted)
