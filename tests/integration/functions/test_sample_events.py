"""Each function answers its sample event."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from dispatcher.platform import correlation, functions
from tests.integration.functions.events import Run

OF_DEPLOYMENTS = {"migrate", "release_check", "release_gate", "deploy"}
REFUSED = {"status": None, "error": "its address is not public", "milliseconds": 0, "retry_after": None}


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("commands", {"statusCode": 202}),
        ("sessions", {"statusCode": 201}),
        ("agents", {"statusCode": 200}),
        ("events", {"statusCode": 200}),
        ("operators", {"statusCode": 200}),
        ("webhooks", {"statusCode": 201}),
        ("deliver_webhooks", {"webhook_messages": 0, "disabled_webhooks": 0}),
        ("webhook", {"outcomes": [REFUSED]}),
        ("pages", {"statusCode": 200}),
        ("authorize_agent", {"principalId": "k8s-dev-1"}),
        ("connect", {"statusCode": 200}),
        ("message", {"statusCode": 200}),
        ("heartbeat", {"statusCode": 200}),
        ("late_reports", {"batchItemFailures": []}),
        ("disconnect", {"statusCode": 200}),
        ("flush", {"sent": 0, "claimed": 0}),
        ("sweeper", {"loaded": 0, "failed_passes": 0}),
        ("audit", {"lost_commands": 0, "stuck_commands": 0}),
        ("publisher", {"events_published": 0}),
        ("migrate", {"applied": []}),
        ("release_check", {"functions": functions.schema()}),
        ("release_gate", {"status": "Succeeded"}),
        ("deploy", {"Status": "SUCCESS", "LogicalResourceId": "Migration"}),
    ],
)
def test_a_function_answers_its_sample_event(
    run: Run, monkeypatch: pytest.MonkeyPatch, function: str, expected: dict[str, Any]
) -> None:
    """A newcomer tries the samples first."""
    for outside in ("commands.flush.invoke_flush", "platform.deployment.run_migration", "platform.deployment.put"):
        monkeypatch.setattr(f"dispatcher.{outside}", Mock())
    monkeypatch.setattr("dispatcher.platform.releases.decide", Mock(return_value="Succeeded"))
    monkeypatch.setenv("RELEASE_CHECK_FUNCTION", "release-check")
    resolve = Mock(return_value=["127.0.0.1"])
    monkeypatch.setattr("dispatcher.webhooks.receiver_connection.Internet.resolve", resolve)

    monkeypatch.setenv("EVENT_BUS_NAME", "fleet")
    before = correlation.resume("a" * 32)
    answer = run(function)

    for outcome in answer.get("outcomes", []):
        outcome["milliseconds"] = 0  # how busy the machine is
    assert {name: answer[name] for name in expected} == expected
    # The log lines of an event never have the id of the event before.
    assert correlation.current() != before or function in OF_DEPLOYMENTS


def test_every_function_has_a_sample_event(root: Path) -> None:
    """A new function needs its own event."""
    functions = {path.parent.name for path in root.glob("functions/*/app.py")}

    assert {path.stem for path in root.glob("events/*.json")} == functions
