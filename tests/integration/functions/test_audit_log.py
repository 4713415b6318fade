"""The audit log: who did what, and from which address."""

import json

import pytest
from psycopg import errors

from dispatcher.platform.database import Connection
from tests.integration.functions.events import Run, ask


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
