"""Problem documents: they say what is wrong with a request, and nothing about the database."""

import json
from typing import Any

import psycopg
import pytest

from dispatcher.access.roles import Role
from dispatcher.platform import database
from dispatcher.platform.database import Connection
from dispatcher.protocol.frames import MESSAGE_BYTES
from tests.integration.functions.events import AGENT, COMMANDS, LIST, Run, as_bearer, ask, request, token_of
from tests.rows import statuses


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
        ({"body": {"action": "noop", "payload": {"x": "x" * MESSAGE_BYTES}}}, 413),
        ({"body": {"action": "noop"}, "content_type": "text/plain"}, 415),
        ({"body": {"action": "noop"}, "role": None}, 401),
        ({"body": {"action": "noop"}, "role": Role.READER}, 403),
    ],
)
def test_bad_input_gets_a_problem_and_changes_nothing(
    run: Run, conn: Connection, options: dict[str, Any], status: int
) -> None:
    """A problem document of RFC 9457."""
    answer = run("commands", request("POST", COMMANDS, **options))

    headers = {name.lower(): value for name, value in {**answer.get("headers", {}), **_flat(answer)}.items()}
    problem = json.loads(answer["body"])
    assert answer["statusCode"] == status
    assert problem["status"] == status
    assert headers["content-type"] == "application/problem+json"
    assert {"type", "title", "detail"} <= problem.keys()
    assert statuses(conn) == {}


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
def test_a_missing_object_is_a_problem_404(run: Run, function: str, method: str, path: str) -> None:
    """For every kind of object."""
    body = {"action": "noop"} if path.endswith("/commands") else None

    status, problem = ask(run, function, method, path, body)

    assert status == 404
    assert problem["status"] == 404


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59Z", "9000-01-01T00:00:00Z", 5, 1.5, True, "2030-01-01"])
def test_a_time_that_cannot_be_stored_is_the_callers_error(run: Run, conn: Connection, moment: Any) -> None:
    """It is neither a server error nor stored as another time."""
    status, problem = ask(run, "commands", "POST", COMMANDS, {"action": "noop", "notBefore": moment})

    assert status == 422
    assert statuses(conn) == {}
    assert problem["errors"][0]["at"].endswith("notBefore")


@pytest.mark.parametrize(
    "path", [LIST, "/api/v1/commands/any/why", COMMANDS, "/api/v1/sessions", "/api/v1/agents", "/api/v1/audit"]
)
def test_a_misspelt_filter_is_refused_and_does_not_list_everything(run: Run, path: str) -> None:
    """A script would act on every command instead of a few."""
    name, method = path.split("/")[3], "POST" if path == COMMANDS else "GET"
    function = {"audit": "operators"}.get(name, "commands" if path == COMMANDS else name)

    status, problem = ask(
        run, function, method, f"{path}?agent_id=a&statuss=dead", {"action": "noop"} if method == "POST" else None
    )

    assert status == 422
    assert problem["detail"] == "query/agent_id: Not a parameter of this path (1 more in `errors`)."
    assert [each["at"] for each in problem["errors"]] == ["query/agent_id", "query/statuss"]


def test_an_agents_id_with_a_slash_is_refused(run: Run) -> None:
    """Otherwise no path could contain its id."""
    assert ask(run, "agents", "POST", "/api/v1/agents", {"agentId": "a/b", "platform": "kubernetes"})[0] == 422


@pytest.mark.usefixtures("agent")
def test_database_errors_are_not_sent_to_clients(run: Run, conn: Connection) -> None:
    """The answer contains no table, no column and no value."""
    conn.execute("alter table agent_commands rename column action to verb")

    answer = run("commands", request("POST", COMMANDS, {"action": "secret-action"}))

    assert answer["statusCode"] == 500
    assert json.loads(answer["body"])["status"] == 500
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


@pytest.mark.usefixtures("agent")
def test_a_read_only_server_gives_a_503_and_the_next_request_reconnects(run: Run, conn: Connection) -> None:
    """After a failover nothing is accepted, and the caller may try again."""
    ask(run, "commands", "GET", LIST)
    with database.connect() as kept:
        kept.execute("set default_transaction_read_only = on")

    answers = [ask(run, "commands", "POST", COMMANDS, {"action": "noop"})[0] for _ in range(2)]

    assert answers == [503, 202]
    assert list(statuses(conn).values()) == ["pending"]


def test_a_database_failure_during_authentication_is_a_503_and_not_a_401(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a 401 a client would give up, but it should try again."""
    tries: list[None] = []

    def unreachable() -> None:
        tries.append(None)
        raise psycopg.OperationalError

    event = request("GET", "/api/v1/commands/k1", role=None, **as_bearer(token_of("the-reader")))
    monkeypatch.setattr("dispatcher.platform.database.connect", unreachable)

    answer = run("commands", event)

    assert answer["statusCode"] == 503
    assert answer["headers"]["Retry-After"] == "5"
    assert len(tries) > 1, "a passing error is waited for"
