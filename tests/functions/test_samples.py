"""Each function answers its sample event."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from dispatcher.platform.database import Connection
from tests.functions.conftest import Run


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("commands", {"statusCode": 202}),
        ("sessions", {"statusCode": 201}),
        ("agents", {"statusCode": 200}),
        ("operators", {"statusCode": 200}),
        ("pages", {"statusCode": 200}),
        ("authorize_operator", {"isAuthorized": True, "context": {"reason": "The token is not valid."}}),
        ("authorize_agent", {"principalId": "k8s-dev-1"}),
        ("connect", {"statusCode": 200}),
        ("message", {"statusCode": 200}),
        ("disconnect", {"statusCode": 200}),
        ("flush", {"sent": 0, "claimed": 0}),
        ("sweeper", {"loaded": 0, "failed_passes": 0}),
        ("audit", {"lost_commands": 0, "stuck_commands": 0}),
        ("migrate", {"applied": []}),
        ("deploy", {"Status": "SUCCESS", "PhysicalResourceId": "migration"}),
    ],
)
def test_a_function_answers_its_sample_event(
    run: Run, monkeypatch: pytest.MonkeyPatch, function: str, expected: dict[str, Any]
) -> None:
    """The samples are what a newcomer tries first."""
    for outside in ("commands.flush.invoke_flush", "platform.deployment.run_migration", "platform.deployment.put"):
        monkeypatch.setattr(f"dispatcher.{outside}", Mock())

    answer = run(function)

    assert {name: answer[name] for name in expected} == expected


def test_every_function_has_a_sample_event(root: Path) -> None:
    """A new function comes with its event."""
    functions = {path.parent.name for path in root.glob("functions/*/app.py")}

    assert {path.stem for path in root.glob("events/*.json")} == functions


def test_the_sample_command_is_stored_as_it_was_sent(run: Run, agent: str, conn: Connection) -> None:
    """The agent is away: the command waits, with a NULL error_message."""
    answer = run("commands")

    body = json.loads(answer["body"])
    row = conn.execute("select command_id, agent_id, action, status, error_message from agent_commands").fetchone()
    assert row == (body["commandId"], agent, "stop_session", "pending", None)
    assert answer["headers"]["Location"] == f"/api/v1/commands/{body['commandId']}"
