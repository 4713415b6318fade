"""Registration and enrolment: agents register themselves."""

import json
from typing import Any

import pytest

from dispatcher.platform.database import Connection
from tests.integration.functions.events import AGENT, KEY, REGISTER, Run, admission, ask


@pytest.mark.usefixtures("agent")
def test_registration_does_not_reveal_which_agents_exist(run: Run) -> None:
    """An unknown agent and a known one with a wrong key get the same answer, which agents cannot confuse with `pending`."""
    answers = [
        ask(
            run,
            "agents",
            "POST",
            REGISTER,
            {"agentId": agent_id, "platform": "docker"},
            role=None,
            X_Agent_Api_Key="1" * 64,
        )
        for agent_id in (AGENT, "unknown")
    ]

    assert answers[0] == answers[1]
    assert answers[0][0] == 401
    assert "pending" not in json.dumps(answers[0][1])


@pytest.mark.usefixtures("agent")
def test_an_agent_that_waits_for_approval_gets_202_and_pending(run: Run, conn: Connection) -> None:
    """R32: existing agents ask again after this answer."""
    conn.execute("update agents set approval = 'pending'")
    body = {"agentId": AGENT, "platform": "docker", "metadata": {"unknown": 1}, "somethingNew": True}

    status, registered = ask(run, "agents", "POST", REGISTER, body, role=None, X_Agent_Api_Key=KEY)

    assert status == 202
    assert registered["approvalStatus"] == "pending"


def test_an_enrolment_token_creates_agents_of_its_prefix_within_its_uses(run: Run, conn: Connection) -> None:
    """Each agent gets its own key and waits for an admin's approval."""
    invitation = {"prefix": "edge-", "uses": 2, "labels": {"region": "eu"}}
    token = ask(run, "agents", "POST", "/api/v1/enrolment-tokens", invitation)[1]["token"]

    def register(agent_id: str, key: str) -> tuple[int, Any]:
        body = {"agentId": agent_id, "platform": "kubernetes"}
        return ask(run, "agents", "POST", REGISTER, body, role=None, X_Agent_Api_Key=key)

    elsewhere = register("core-1", token)
    first = register("edge-1", token)
    again = register("edge-1", token)
    second = register("edge-2", token)
    third = register("edge-3", token)
    key = first[1]["apiKey"]
    before = admission(run, key, "edge-1")
    ask(run, "agents", "POST", "/api/v1/agents/edge-1/approve")

    assert [answer[0] for answer in (elsewhere, first, again, second, third)] == [401, 202, 202, 202, 401]
    assert again[1]["apiKey"] == key
    assert before == "Deny"
    assert admission(run, key, "edge-1") == "Allow"
    assert admission(run, key, "edge-2") == "Deny"
    assert admission(run, token, "edge-1") == "Deny"
    assert conn.execute("select labels from agents where agent_id = 'edge-1'").fetchone() == ({"region": "eu"},)


def test_an_expired_enrolment_token_creates_no_agent(run: Run, conn: Connection) -> None:
    """Its lifetime is short."""
    token = ask(run, "agents", "POST", "/api/v1/enrolment-tokens", {"prefix": "edge-"})[1]["token"]
    conn.execute("update enrolment_tokens set expires_at = now()")
    body = {"agentId": "edge-1", "platform": "p"}

    status, _ = ask(run, "agents", "POST", REGISTER, body, role=None, X_Agent_Api_Key=token)

    assert status == 401
    assert conn.execute("select count(*) from agents").fetchone() == (0,)
