"""The front door: where there is one, nobody goes around it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.platform.database import Connection
from tests.functions.conftest import KEY, Run, request, sample
from tests.secrets_manager import secrets_manager

SECRET, PREVIOUS = "k" * 64, "p" * 64


@pytest.fixture
def _front_door(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A deployment with a front door."""
    with secrets_manager(monkeypatch) as secrets:
        monkeypatch.setenv(
            "ORIGIN_SECRET_ARN", secrets.put("origin", json.dumps({"current": SECRET, "previous": PREVIOUS}))
        )
        yield


def shown(headers: dict[str, str]) -> dict[str, Any]:
    """Ask for the health, with these headers."""
    event = request("GET", "/healthz", role=None)
    event["headers"] |= headers
    return event


@pytest.mark.usefixtures("_front_door")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-origin-secret": SECRET}, 200),
        ({"x-origin-secret": PREVIOUS}, 200),
        ({}, 403),
        ({"x-origin-secret": ""}, 403),
        ({"x-origin-secret": "ü"}, 403),
    ],
)
def test_a_request_shows_what_only_the_front_door_knows(run: Run, headers: dict[str, str], status: int) -> None:
    """Also on the paths that are public; while the secret is rotated, either one."""
    answer = run("pages", shown(headers))

    assert answer["statusCode"] == status
    assert SECRET not in json.dumps(answer)


@pytest.mark.usefixtures("_front_door")
@pytest.mark.parametrize(
    ("method", "path", "function"),
    [
        ("POST", "/api/v1/auth/login", "sessions"),
        ("POST", "/api/v1/agents/register", "agents"),
        ("GET", "/api/v1/commands", "commands"),
        ("GET", "/api/v1/operators", "operators"),
    ],
)
def test_no_function_of_the_http_api_answers_around_it(run: Run, method: str, path: str, function: str) -> None:
    """An authorized operator is turned away as well."""
    assert run(function, request(method, path, {}))["statusCode"] == 403


@pytest.mark.usefixtures("_front_door", "agent")
@pytest.mark.parametrize(
    ("headers", "effect"),
    [
        ({"X-Agent-Api-Key": KEY, "X-Origin-Secret": SECRET}, "Allow"),
        ({"X-Agent-Api-Key": KEY}, "Deny"),
        ({"X-Agent-Api-Key": KEY, "x-origin-secret": "k"}, "Deny"),
        ({"x-origin-secret": SECRET}, "Deny"),
    ],
)
def test_an_agents_socket_comes_through_it_and_wants_its_key_too(
    run: Run, root: Path, headers: dict[str, str], effect: str
) -> None:
    """The gateway leaves the names of headers as they were written."""
    answer = run("authorize_agent", sample(root, "authorize_agent") | {"headers": headers})

    assert answer["policyDocument"]["Statement"][0]["Effect"] == effect


@pytest.mark.parametrize(
    "secret",
    [
        json.dumps({"current": SECRET, "previous": ""}),
        json.dumps({"current": SECRET, "previous": None}),
        json.dumps({"current": SECRET, "note": "n"}),
        json.dumps({"current": ""}),
        "{}",
    ],
)
@pytest.mark.parametrize("shown_secret", [None, "", "n"])
def test_what_is_empty_or_something_else_in_the_secret_admits_nobody(
    run: Run, monkeypatch: pytest.MonkeyPatch, secret: str, shown_secret: str | None
) -> None:
    """Who blanks the previous one at the end of a rotation does not open the house."""
    with secrets_manager(monkeypatch) as secrets:
        monkeypatch.setenv("ORIGIN_SECRET_ARN", secrets.put("origin", secret))
        headers = {} if shown_secret is None else {"x-origin-secret": shown_secret}

        assert run("pages", shown(headers))["statusCode"] == 403


@pytest.mark.parametrize("secret", [SECRET, "[]", "null", "1", '"x"'])
def test_a_secret_of_another_form_is_a_problem_and_lets_nobody_in(
    run: Run, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """It is ours, and the log says what to put there."""
    with secrets_manager(monkeypatch) as secrets:
        monkeypatch.setenv("ORIGIN_SECRET_ARN", secrets.put("origin", secret))

        answer = run("pages", shown({"x-origin-secret": SECRET}))

    assert (answer["statusCode"], answer["headers"]["Content-Type"]) == (500, "application/problem+json")


def test_without_a_front_door_no_secret_is_asked_for(run: Run) -> None:
    """One machine, and a deployment with two hosts."""
    assert run("pages", shown({}))["statusCode"] == 200


@pytest.mark.usefixtures("_front_door")
def test_who_calls_is_whom_the_front_door_saw(run: Run, conn: Connection) -> None:
    """Not the front door, whose addresses everybody shares: log-ins are locked by address, and the record says from where."""
    put_agent = request("POST", "/api/v1/agents", {"agentId": "a1", "platform": "kubernetes"})
    put_agent["headers"] |= {"x-origin-secret": SECRET, "x-caller-address": "198.51.100.7"}

    assert run("agents", put_agent)["statusCode"] == 201
    assert conn.execute("select distinct source_ip from audit_log").fetchall() == [("198.51.100.7",)]


def test_without_a_front_door_a_caller_does_not_say_where_he_is(run: Run, conn: Connection) -> None:
    """The header is anybody's then."""
    put_agent = request("POST", "/api/v1/agents", {"agentId": "a1", "platform": "kubernetes"})
    put_agent["headers"] |= {"x-caller-address": "198.51.100.7"}

    assert run("agents", put_agent)["statusCode"] == 201
    assert conn.execute("select distinct source_ip from audit_log").fetchall() == [("192.0.2.1",)]


@pytest.mark.usefixtures("_front_door", "agent")
def test_a_connection_is_noted_with_the_address_that_the_front_door_saw(run: Run, root: Path, conn: Connection) -> None:
    """The gateway leaves the names of headers as they were written."""
    event = sample(root, "connect")
    event["headers"] = {**event["headers"], "X-Caller-Address": "198.51.100.7"}

    assert run("connect", event)["statusCode"] == 200
    assert conn.execute("select source_ip from agent_connections").fetchall() == [("198.51.100.7",)]
