"""Who may do what: agents with their own key and their own commands, operators with their role; and nobody learns more."""

import json
from typing import Any

import jwt
import pytest

from dispatcher.access.credentials import key_hash
from dispatcher.access.roles import Role
from dispatcher.platform.database import Connection
from tests.fakes import FakeGateway
from tests.functions.conftest import AGENT, KEY, KEY_ID, Run, request, sample
from tests.functions.test_intake import COMMANDS, ask
from tests.rows import connect, put, statuses

OTHER = "other-agent"
REGISTER = "/api/v1/agents/register"


@pytest.fixture
def other(conn: Connection) -> str:
    """Another approved agent, connected."""
    conn.execute("insert into agents (agent_id, platform) values (%s, 'kubernetes')", (OTHER,))
    conn.execute("insert into agent_keys (agent_id, key_hash) values (%s, %s)", (OTHER, key_hash("f" * 64)))
    connect(conn, OTHER, "c-other")
    return OTHER


def admitted(run: Run, root: Any, key: str, agent_id: str = AGENT) -> str:
    """Ask the WebSocket authorizer; return the policy's effect."""
    event = sample(root, "authorize_agent")
    event["headers"]["X-Agent-Api-Key"] = key
    event["queryStringParameters"] = {"agent_id": agent_id}
    answer = run("authorize_agent", event)
    effect: str = answer["policyDocument"]["Statement"][0]["Effect"]
    assert (answer["context"].get("agentId") == agent_id) == ("keyId" in answer["context"]) == (effect == "Allow")
    return effect


@pytest.mark.usefixtures("agent", "other")
@pytest.mark.parametrize(
    ("key", "agent_id", "effect"),
    [
        (KEY, AGENT, "Allow"),
        (KEY, OTHER, "Deny"),
        (KEY, "unknown", "Deny"),
        (KEY[:32], AGENT, "Deny"),
        (KEY[:-1] + "0", AGENT, "Deny"),
        (KEY + "0", AGENT, "Deny"),
        ("", AGENT, "Deny"),
        (KEY, "", "Deny"),
        (KEY, AGENT[:-1], "Deny"),
    ],
)
def test_a_key_opens_the_socket_of_the_very_agent_that_it_was_given_to(
    run: Run, root: Any, key: str, agent_id: str, effect: str
) -> None:
    """No prefix, no other agent's, no bootstrap key for all."""
    assert admitted(run, root, key, agent_id) == effect


@pytest.mark.parametrize("approval", ["pending", "rejected"])
def test_an_agent_that_is_not_approved_connects_neither_past_the_authorizer_nor_after_it(
    run: Run, root: Any, agent: str, conn: Connection, approval: str
) -> None:
    """It may have been rejected between the two; and the agent's own poll is nothing to rely on."""
    conn.execute("update agents set approval = %s", (approval,))

    answer = run("connect")

    row = conn.execute("select connection_id, epoch from agents where agent_id = %s", (agent,)).fetchone()
    assert (admitted(run, root, KEY), answer["statusCode"], row) == ("Deny", 403, (None, 0))


@pytest.mark.usefixtures("agent")
def test_a_revoked_key_opens_nothing_and_its_sockets_are_closed(run: Run, root: Any, gateway: FakeGateway) -> None:
    """A socket would last for two hours; the key that replaces it works from the first."""
    _, issued = ask(run, "agents", "POST", f"/api/v1/agents/{AGENT}/keys")
    both = [admitted(run, root, key) for key in (KEY, issued["apiKey"])]
    run("connect")

    status, _ = ask(run, "agents", "DELETE", f"/api/v1/agents/{AGENT}/keys/{KEY_ID}")

    one = [admitted(run, root, key) for key in (KEY, issued["apiKey"])]
    assert (both, status, one) == (["Allow", "Allow"], 204, ["Deny", "Allow"])
    assert gateway.closed == [sample(root, "connect")["requestContext"]["connectionId"]]


@pytest.mark.usefixtures("agent")
def test_a_rejected_agents_socket_is_closed(run: Run, root: Any, gateway: FakeGateway) -> None:
    """And it gets no other."""
    run("connect")

    ask(run, "agents", "POST", f"/api/v1/agents/{AGENT}/reject")

    assert (len(gateway.closed), admitted(run, root, KEY)) == (1, "Deny")


REPORTS: list[dict[str, Any]] = [
    {"type": "ack", "payload": {"commandId": "k1"}},
    {"type": "complete", "payload": {"commandId": "k1"}},
    {"type": "failed", "payload": {"commandId": "k1", "error": "no"}},
    {"type": "command_error", "commandId": "k1", "error": "no"},
    {"type": "command_response", "sessionId": "s1", "success": True},
    {"type": "command_response", "sessionId": "s1", "success": False},
    *(
        {"type": "reports", "reports": [{"kind": kind, "commandId": "k1", "attempt": 1, "progress": 1, **extra}]}
        for kind, extra in (
            ("ack", {}),
            ("progress", {}),
            ("complete", {}),
            ("cancelled", {}),
            ("failed", {}),
            ("failed", {"retryable": True}),
        )
    ),
]


@pytest.mark.usefixtures("agent", "other")
@pytest.mark.parametrize("status", ["sent", "acknowledged"])
@pytest.mark.parametrize("frame", REPORTS, ids=lambda frame: json.dumps(frame)[:70])
def test_no_agent_settles_another_agents_command(
    run: Run, root: Any, conn: Connection, frame: dict[str, Any], status: str
) -> None:
    """I9: the authenticated id alone decides, whatever the frame says."""
    connect(conn, AGENT, "c-agent")
    put(conn, "k1", OTHER, session_id="s1", status=status, attempt=1, epoch=1, cancel_requested_at="2026-01-01")
    before = conn.execute("select * from agent_commands").fetchall()
    event = sample(root, "message")
    event["requestContext"]["connectionId"] = "c-agent"

    run("message", {**event, "body": json.dumps(frame)})

    assert conn.execute("select * from agent_commands").fetchall() == before


@pytest.mark.usefixtures("agent")
def test_registration_tells_nobody_which_agents_there_are(run: Run) -> None:
    """An unknown agent, and a wrong key of a known one: the same answer, safe to be misread as well."""
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
def test_an_agent_that_waits_for_approval_registers_and_is_told_so(run: Run, conn: Connection) -> None:
    """R32: 202 and `pending`, which existing agents ask again for."""
    conn.execute("update agents set approval = 'pending'")
    body = {"agentId": AGENT, "platform": "docker", "metadata": {"unknown": 1}, "somethingNew": True}

    status, registered = ask(run, "agents", "POST", REGISTER, body, role=None, X_Agent_Api_Key=KEY)

    assert (status, registered["approvalStatus"]) == (202, "pending")


@pytest.mark.usefixtures("agent")
def test_what_the_database_says_is_not_told_to_clients(run: Run, conn: Connection) -> None:
    """Not the name of a table, nor of a column, nor a value."""
    conn.execute("alter table agent_commands rename column action to verb")

    answer = run("commands", request("POST", COMMANDS, {"action": "secret-action"}))

    assert (answer["statusCode"], json.loads(answer["body"])["status"]) == (500, 500)
    assert not any(word in answer["body"].lower() for word in ("column", "agent_commands", "secret-action", "insert"))


@pytest.mark.usefixtures("agent")
def test_a_database_that_cannot_be_reached_is_a_503_without_its_address(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller may try again."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://dispatcher:hunter2@127.0.0.1:9/dispatcher")

    answer = run("commands", request("POST", COMMANDS, {"action": "noop"}))

    assert answer["statusCode"] == 503
    assert not any(word in answer["body"] for word in ("127.0.0.1", "hunter2", "refused"))


def test_an_agent_that_is_deleted_leaves_its_commands_and_their_history(run: Run, agent: str, conn: Connection) -> None:
    """The original deleted them with it."""
    put(conn, "k1", agent, status="completed")
    run("connect")

    status, _ = ask(run, "agents", "DELETE", f"/api/v1/agents/{agent}")

    _, history = ask(run, "commands", "GET", "/api/v1/commands/k1/history")
    assert (status, statuses(conn), len(history["history"])) == (204, {"k1": "completed"}, 1)


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize(
    "change", [{"exp": 1}, {"iss": "somebody"}, {"sub": "stranger"}, {"key": "8" * 64}, {"algorithm": "none"}]
)
def test_a_token_that_is_not_ours_or_over_is_nobodys(run: Run, change: dict[str, Any]) -> None:
    """Whoever made it."""
    claims = {"iss": "agent-command-dispatcher", "sub": "admin", "iat": 1, "exp": 32503680000}
    key, algorithm = change.get("key", "7" * 64), change.get("algorithm", "HS256")
    token = jwt.encode({**claims, **change}, "" if algorithm == "none" else key, algorithm=algorithm)

    answer = run("authorize_operator", {"headers": {"authorization": f"Bearer {token}"}})

    assert "username" not in answer["context"]


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("method", "path", "body", "least"),
    [
        ("POST", "/api/v1/agents", {"agentId": "a9", "platform": "docker"}, Role.ADMIN),
        ("POST", f"/api/v1/agents/{AGENT}/keys", None, Role.ADMIN),
        ("POST", f"/api/v1/agents/{AGENT}/approve", None, Role.ADMIN),
        ("DELETE", f"/api/v1/agents/{AGENT}", None, Role.ADMIN),
    ],
)
def test_only_an_admin_decides_about_agents(run: Run, method: str, path: str, body: Any, least: Role) -> None:
    """A role may do what those before it may, and no more."""
    for role in Role:
        status, _ = ask(run, "agents", method, path, body, role=role)
        assert (status == 403) == (not role.allows(least)), role
