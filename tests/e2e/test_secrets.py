"""No secret is in a log or in a copy of the database."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from local.http_client import Client, Refused
from local.postgres.server import find_binaries
from tests.e2e.conftest import Agent
from tests.e2e.dispatcher_process import PASSWORD, Dispatcher, until

PAYLOAD = "the-payload-is-nobodys-business"


@pytest.fixture
def secrets(dispatcher: Dispatcher, client: Client, create_agent: Callable[..., tuple[str, str]]) -> dict[str, str]:
    """Every kind of secret, after each was used correctly and wrongly once."""
    agent_id, key = create_agent()
    enrolment = client.post("/api/v1/enrolment-tokens", {"prefix": f"{agent_id}-"})["token"]
    enrolled = Client(url=dispatcher.url).post(
        "/api/v1/agents/register", {"agentId": f"{agent_id}-1", "platform": "x"}, X_Agent_Api_Key=enrolment
    )
    webhook = {"url": "https://receiver.example/", "types": ["agent.rejected"]}  # nothing of this type happens here
    told = client.post("/api/v1/webhooks", webhook)
    renewed = client.post(f"/api/v1/webhooks/{told['webhookId']}/secret")
    script = client.post("/api/v1/tokens", {"name": "ci", "role": "reader"})["token"]
    Client(url=dispatcher.url, token=script).get("/api/v1/agents")
    agent = Agent(dispatcher.url, agent_id, key)
    body: Any = {"action": "noop", "payload": {"text": PAYLOAD}}
    command_id = client.post(f"/api/v1/agents/{agent_id}/commands", body)["commandId"]
    until(lambda: client.get(f"/api/v1/commands/{command_id}")["status"] == "completed")
    agent.socket.send(json.dumps({"type": "nonsense", "payload": PAYLOAD}))
    agent.close()
    for wrong in ({"action": 1, "payload": PAYLOAD}, {"action": "noop", "payload": PAYLOAD, "unknown": 1}):
        with pytest.raises(Refused):
            client.post(f"/api/v1/agents/{agent_id}/commands", wrong)
    return {
        "password": PASSWORD,
        "key": key,
        "enrolment token": enrolment,
        "enrolled key": enrolled["apiKey"],
        "token for scripts": script,
        "webhook's secret": told["secret"].removeprefix("whsec_"),
        "webhook's new secret": renewed["secret"].removeprefix("whsec_"),
        "key of webhooks": (dispatcher.home / "webhooks.secret").read_text().strip(),
        "log-in token": client.token or "",
        "signing key": (dispatcher.home / "token.secret").read_text().strip(),
    }


def test_the_logs_hold_no_secret(dispatcher: Dispatcher, secrets: dict[str, str]) -> None:
    """Neither in the file nor on the terminal; and no payload."""
    written = dispatcher.log + dispatcher.output + dispatcher.errors

    found = [what for what, secret in {**secrets, "payload": PAYLOAD}.items() if secret in written]
    assert found == []


def test_a_copy_of_the_database_holds_no_secret(dispatcher: Dispatcher, secrets: dict[str, str]) -> None:
    """Everything that pg_dump writes."""
    with dispatcher.database() as conn:
        url = conn.info.dsn
        password = conn.info.password
    dump = subprocess.run(
        [find_binaries() / "pg_dump", f"--dbname={url}"],
        env={"PGPASSWORD": password},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "audit_log" in dump
    assert [what for what, secret in secrets.items() if secret in dump] == []
