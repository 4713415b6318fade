"""Label limits: an operator of one region sees and changes nothing of another region."""

import json
from typing import Any

import pytest

from dispatcher.platform.database import Connection
from tests.integration.functions.events import LIST, Run, ask

EU, US = {"region": "eu"}, {"region": "us"}


@pytest.fixture
def fleet(run: Run, conn: Connection) -> None:
    """One agent in each region, each with a command and a session."""
    for name, labels in (("eu-1", EU), ("us-1", US)):
        ask(run, "agents", "POST", "/api/v1/agents", {"agentId": name, "platform": "kubernetes", "labels": labels})
        ask(run, "commands", "POST", f"/api/v1/agents/{name}/commands", {"action": "noop"})
        conn.execute("update agent_commands set command_id = 'cmd-' || agent_id where action = 'noop'")
        conn.execute("update command_history h set command_id = c.command_id from agent_commands c where h.attempt = 0")
        body = {"user": "u", "template": "firefox-browser", "agentId": name}
        ask(run, "sessions", "POST", "/api/v1/sessions", body)
        conn.execute("update sessions set name = 's-' || agent_id where name not like 's-%'")


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    ("function", "method", "path", "body"),
    [
        ("agents", "GET", "/api/v1/agents/us-1", None),
        ("agents", "DELETE", "/api/v1/agents/us-1", None),
        ("agents", "GET", "/api/v1/agents/us-1/events", None),
        ("agents", "POST", "/api/v1/agents/us-1/reject", None),
        ("agents", "GET", "/api/v1/agents/us-1/keys", None),
        ("agents", "POST", "/api/v1/agents/us-1/keys", None),
        ("agents", "DELETE", "/api/v1/agents/us-1/keys/x", None),
        ("commands", "POST", "/api/v1/agents/us-1/commands", {"action": "noop"}),
        ("commands", "POST", LIST, [{"agentId": "us-1", "action": "noop"}]),
        ("commands", "GET", "/api/v1/commands/cmd-us-1", None),
        ("commands", "GET", "/api/v1/commands/cmd-us-1/history", None),
        ("commands", "GET", "/api/v1/commands/cmd-us-1/why", None),
        ("commands", "POST", "/api/v1/commands/cmd-us-1/cancel", None),
        ("commands", "POST", "/api/v1/commands/cmd-us-1/redrive", None),
        ("sessions", "GET", "/api/v1/sessions/s-us-1", None),
        ("sessions", "DELETE", "/api/v1/sessions/s-us-1", None),
        ("sessions", "POST", "/api/v1/sessions", {"user": "u", "template": "firefox-browser", "agentId": "us-1"}),
    ],
)
def test_an_operator_of_one_region_gets_404_for_agents_of_another(
    run: Run, function: str, method: str, path: str, body: Any
) -> None:
    """The same 404 as for an unknown id, for every kind of id; the operator's own agents are visible."""
    theirs = ask(run, function, method, path, body, labels=EU)
    own_body = json.loads(json.dumps(body).replace("us-1", "eu-1"))
    own = ask(run, function, method, path.replace("us-1", "eu-1"), own_body, labels=EU)

    assert theirs[0] == 404
    assert own[0] in {200, 201, 202, 204, 409} or path.endswith("/keys/x")


@pytest.mark.usefixtures("fleet")
def test_lists_contain_only_what_the_labels_allow(run: Run) -> None:
    """The query filters, so that pages are full."""
    agents = ask(run, "agents", "GET", "/api/v1/agents", labels=EU)[1]["agents"]
    commands = ask(run, "commands", "GET", LIST, labels=EU)[1]["commands"]
    sessions = ask(run, "sessions", "GET", "/api/v1/sessions", labels=EU)[1]["sessions"]

    assert [agent["agentId"] for agent in agents] == ["eu-1"]
    assert {command["agentId"] for command in commands} == {"eu-1"}
    assert {session["agentId"] for session in sessions} == {"eu-1"}


def test_an_admin_of_one_region_creates_agents_of_that_region_only(run: Run) -> None:
    """Such an admin cannot create enrolment tokens, read the audit log, run the loss check, or change operators."""
    new = {"agentId": "x", "platform": "p"}
    operator = {"password": "x" * 12, "role": "admin"}

    assert ask(run, "agents", "POST", "/api/v1/agents", new, labels=EU)[0] == 403
    assert ask(run, "agents", "POST", "/api/v1/agents", {**new, "labels": US}, labels=EU)[0] == 403
    assert ask(run, "agents", "POST", "/api/v1/agents", {**new, "labels": {**EU, "tier": "1"}}, labels=EU)[0] == 201
    assert ask(run, "agents", "POST", "/api/v1/enrolment-tokens", {"prefix": "x"}, labels=EU)[0] == 403
    assert ask(run, "operators", "GET", "/api/v1/audit", labels=EU)[0] == 403
    assert ask(run, "operators", "GET", "/api/v1/loss-check", labels=EU)[0] == 403
    assert ask(run, "operators", "PUT", "/api/v1/operators/me", operator, labels=EU)[0] == 403


def test_an_admin_of_one_region_revokes_no_key_of_another(run: Run, conn: Connection) -> None:
    """Neither directly nor by naming an agent of their own region."""
    for name, region in (("eu-1", "eu"), ("us-1", "us")):
        ask(run, "agents", "POST", "/api/v1/agents", {"agentId": name, "platform": "p", "labels": {"region": region}})
    row = conn.execute("select key_id::text from agent_keys where agent_id = 'us-1'").fetchone()
    assert row is not None

    answers = [
        ask(run, "agents", "DELETE", f"/api/v1/agents/{name}/keys/{row[0]}", labels=EU)[0] for name in ("us-1", "eu-1")
    ]

    assert answers == [404, 404]
    assert conn.execute("select count(*) from agent_keys where revoked_at is not null").fetchone() == (0,)


@pytest.mark.usefixtures("fleet")
def test_nothing_of_a_deleted_agent_of_another_region_is_reachable_through_its_id(run: Run) -> None:
    """A1: anybody may create the id again, as another agent."""
    ask(run, "agents", "DELETE", "/api/v1/agents/us-1")
    again = {"agentId": "us-1", "platform": "kubernetes", "labels": EU}

    limited, _ = ask(run, "agents", "POST", "/api/v1/agents", again, labels=EU)
    hidden, _ = ask(run, "commands", "GET", "/api/v1/commands/cmd-us-1", labels=EU)
    why, _ = ask(run, "commands", "GET", "/api/v1/commands/cmd-us-1/why", labels=EU)
    _, listed = ask(run, "commands", "GET", f"{LIST}?agentId=us-1", labels=EU)
    session, _ = ask(run, "sessions", "GET", "/api/v1/sessions/s-us-1", labels=EU)
    unlimited, command = ask(run, "commands", "GET", "/api/v1/commands/cmd-us-1")

    assert limited == 201
    assert [hidden, why, session] == [404, 404, 404]
    assert listed["commands"] == []
    assert unlimited == 200
    assert command["status"] == "cancelled"
