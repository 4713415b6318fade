"""Intake over HTTP: what is accepted waits; what is not gets a problem document and changes nothing."""

import json
from typing import Any

import pytest

from dispatcher.access.roles import Role
from dispatcher.platform.database import Connection
from dispatcher.protocol.frames import ENVELOPE_BYTES, MESSAGE_BYTES
from tests.fakes import FakeGateway
from tests.functions.conftest import AGENT, KEY, Run, request
from tests.rows import connect

COMMANDS = f"/api/v1/agents/{AGENT}/commands"


def ask(run: Run, function: str, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
    """Send a request to a function; return the status and the decoded body."""
    answer = run(function, request(method, path, body, **options))
    return answer["statusCode"], json.loads(answer["body"]) if answer.get("body") else None


def test_a_command_for_a_connected_agent_is_sent_at_once(
    run: Run, agent: str, conn: Connection, gateway: FakeGateway
) -> None:
    """After the commit, intake tries to deliver."""
    connect(conn, agent)

    status, body = ask(run, "commands", "POST", COMMANDS, {"action": "noop", "payload": {"n": 2**60}})

    assert (status, gateway.command_ids) == (202, [body["commandId"]])
    assert json.loads(gateway.frames[0][1])["payload"]["payload"] == {"n": 2**60}
    assert ask(run, "commands", "GET", f"/api/v1/commands/{body['commandId']}")[1]["status"] == "sent"


@pytest.mark.usefixtures("agent")
def test_one_idempotency_key_is_one_command(run: Run, conn: Connection) -> None:
    """The same body gives the same 202, another body 409."""
    one = ask(run, "commands", "POST", COMMANDS, {"action": "noop"}, idempotency_key="k")
    again = ask(run, "commands", "POST", COMMANDS, {"action": "noop"}, idempotency_key="k")
    other = ask(run, "commands", "POST", COMMANDS, {"action": "other"}, idempotency_key="k")

    count = conn.execute("select count(*) from agent_commands").fetchone()
    assert (one[0], again[0], again[1]["commandId"], other[0], count) == (202, 202, one[1]["commandId"], 409, (1,))


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"raw": "{"}, 400),
        ({"raw": ""}, 422),
        ({"raw": '{"action": "noop", "payload": NaN}'}, 400),
        ({"raw": '{"action": "noop", "payload": 1e999}'}, 400),
        ({"raw": '{"action": "noop", "payload": "\\u0000"}'}, 400),
        ({"raw": '{"action": "noop", "payload": "\\ud800"}'}, 400),
        ({"raw": '{"action": "noop", "payload": ' + "[" * 100_000 + "]" * 100_000 + "}"}, 400),
        ({"raw": '{"action": "noop", "payload": ' + "9" * 5000 + "}"}, 400),
        ({"raw": '{"action": "noop", "action": "other"}'}, 400),
        ({"raw": "[]"}, 422),
        ({"raw": "null"}, 422),
        ({"body": {}}, 422),
        ({"body": {"action": 1}}, 422),
        ({"body": {"action": "noop", "priority": "1"}}, 422),
        ({"body": {"action": "noop", "unknown": 1}}, 422),
        ({"body": {"action": "noop", "ttlSeconds": 0}}, 422),
        ({"body": {"action": "noop", "notBefore": "tomorrow"}}, 422),
        ({"body": {"action": "noop", "payload": "x" * MESSAGE_BYTES}}, 413),
        ({"body": {"action": "noop"}, "content_type": "text/plain"}, 415),
        ({"body": {"action": "noop"}, "role": None}, 401),
        ({"body": {"action": "noop"}, "role": Role.READER}, 403),
    ],
)
def test_bad_input_gets_a_problem_and_changes_nothing(
    run: Run, conn: Connection, options: dict[str, Any], status: int
) -> None:
    """RFC 9457, whatever was wrong."""
    answer = run("commands", request("POST", COMMANDS, **options))

    headers = {name.lower(): value for name, value in {**answer.get("headers", {}), **_flat(answer)}.items()}
    problem = json.loads(answer["body"])
    assert (answer["statusCode"], problem["status"], headers["content-type"]) == (
        status,
        status,
        "application/problem+json",
    )
    assert {"type", "title", "detail"} <= problem.keys()
    assert conn.execute("select count(*) from agent_commands").fetchone() == (0,)


def _flat(answer: dict[str, Any]) -> dict[str, str]:
    return {name: values[0] for name, values in answer.get("multiValueHeaders", {}).items()}


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("function", "method", "path"),
    [
        ("commands", "POST", "/api/v1/agents/unknown/commands"),
        ("commands", "GET", "/api/v1/commands/unknown"),
        ("commands", "GET", "/api/v1/commands/unknown/why"),
        ("commands", "GET", "/api/v1/commands/unknown/history"),
        ("commands", "POST", "/api/v1/commands/unknown/cancel"),
        ("commands", "POST", "/api/v1/commands/unknown/redrive"),
        ("sessions", "DELETE", "/api/v1/sessions/unknown"),
        ("agents", "GET", "/api/v1/agents/unknown"),
        ("agents", "DELETE", "/api/v1/agents/unknown"),
        ("agents", "POST", "/api/v1/agents/unknown/approve"),
        ("agents", "DELETE", f"/api/v1/agents/{AGENT}/keys/unknown"),
        ("pages", "GET", "/unknown"),
    ],
)
def test_what_does_not_exist_is_a_problem_404(run: Run, function: str, method: str, path: str) -> None:
    """Each with its own type."""
    body = {"action": "noop"} if path.endswith("/commands") else None

    status, problem = ask(run, function, method, path, body)

    assert (status, problem["status"]) == (404, 404)


@pytest.mark.usefixtures("agent")
def test_a_command_larger_than_a_frame_by_one_byte_is_refused_and_one_that_fits_is_taken(run: Run) -> None:
    """The limit is the frame's, with all that is around the payload."""
    taken, one = ask(run, "commands", "POST", COMMANDS, {"action": "noop", "payload": "x"})
    assert taken == 202
    entry = {
        "commandId": one["commandId"],
        "attempt": one["maxAttempts"],
        "action": "noop",
        "sessionId": None,
        "payload": "",
        "executionTimeoutSeconds": one["executionTimeoutSeconds"],
    }
    room = MESSAGE_BYTES - ENVELOPE_BYTES - len(json.dumps(entry))

    fits = ask(run, "commands", "POST", COMMANDS, {"action": "noop", "payload": "x" * room})[0]
    too_large = ask(run, "commands", "POST", COMMANDS, {"action": "noop", "payload": "x" * (room + 1)})[0]

    assert (fits, too_large) == (202, 413)


@pytest.mark.usefixtures("agent")
def test_a_list_is_accepted_as_a_whole_or_not_at_all(run: Run, conn: Connection) -> None:
    """One entry each, in order."""
    good = [{"agentId": AGENT, "action": f"a{n}"} for n in range(3)]

    refused = ask(run, "commands", "POST", "/api/v1/commands", [*good, {"agentId": "unknown", "action": "noop"}])
    none = conn.execute("select count(*) from agent_commands").fetchone()
    status, entries = ask(run, "commands", "POST", "/api/v1/commands", good)

    assert (refused[0], none, status) == (404, (0,), 202)
    assert [entry["action"] for entry in entries] == ["a0", "a1", "a2"]


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("filters", ["", f"agentId={AGENT}&", "status=pending&", "sessionId=s1&"])
def test_lists_come_in_pages_without_gaps(run: Run, filters: str) -> None:
    """The newest first."""
    body = {"action": "noop", "sessionId": "s1"}
    sent = [ask(run, "commands", "POST", COMMANDS, body)[1]["commandId"] for _ in range(5)]

    seen: list[str] = []
    path = f"/api/v1/commands?{filters}limit=2"
    cursor = ""
    while True:
        _, page = ask(run, "commands", "GET", path + cursor)
        seen += [command["commandId"] for command in page["commands"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"

    assert seen == sent[::-1]


def test_an_agent_is_provided_once_and_its_key_opens_its_own_socket_only(run: Run, agent: str) -> None:
    """The key is 64 hexadecimal digits, shown once."""
    _, provided = ask(run, "agents", "POST", "/api/v1/agents", {"agentId": "a2", "platform": "docker"})
    again, _ = ask(run, "agents", "POST", "/api/v1/agents", {"agentId": "a2", "platform": "docker"})
    body = {"agentId": "a2", "platform": "docker"}

    statuses = [
        ask(run, "agents", "POST", "/api/v1/agents/register", body, role=None, X_Agent_Api_Key=key)[0]
        for key in (provided["apiKey"], KEY, "", "x")
    ]
    other = ask(
        run, "agents", "POST", "/api/v1/agents/register", {**body, "agentId": agent}, role=None, X_Agent_Api_Key=KEY
    )

    assert (again, statuses, other[0], len(provided["apiKey"])) == (409, [200, 401, 401, 401], 200, 64)
    assert "pending" not in json.dumps(other[1])


@pytest.mark.usefixtures("operators")
def test_a_password_gives_a_token_that_the_authorizer_knows(run: Run) -> None:
    """Wrong names and wrong passwords get the same 401."""
    login = "/api/v1/auth/login"
    status, body = ask(run, "sessions", "POST", login, {"username": "admin", "password": "correct horse"}, role=None)
    wrong = ask(run, "sessions", "POST", login, {"username": "admin", "password": "wrong"}, role=None)
    unknown = ask(run, "sessions", "POST", login, {"username": "nobody", "password": "wrong"}, role=None)

    known = run("authorize_operator", {"headers": {"authorization": f"Bearer {body['token']}"}})
    assert (status, known["context"]) == (200, {"username": "admin", "role": "admin"})
    assert wrong == unknown
    assert wrong[0] == 401
