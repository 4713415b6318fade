"""The edge (CloudFront): if a deployment has one, no request can bypass it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dispatcher.platform.database import Connection
from tests.integration.functions.events import KEY, LIST, LOGIN, REGISTER, Run, request, sample
from tests.secrets_manager import secrets_manager

SECRET, PREVIOUS = "k" * 64, "p" * 64


@pytest.fixture
def _edge(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A deployment with an edge."""
    with secrets_manager(monkeypatch) as secrets:
        monkeypatch.setenv(
            "ORIGIN_SECRET_ARN", secrets.put("origin", json.dumps({"current": SECRET, "previous": PREVIOUS}))
        )
        yield


def health_check(headers: dict[str, str]) -> dict[str, Any]:
    """Build a request of the health check, with these headers."""
    event = request("GET", "/healthz", role=None)
    event["headers"] |= headers
    return event


@pytest.mark.usefixtures("_edge")
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
def test_a_request_must_carry_the_secret_of_the_edge(run: Run, headers: dict[str, str], status: int) -> None:
    """Also on public paths; while the secret is rotated, both values count."""
    answer = run("pages", health_check(headers))

    assert answer["statusCode"] == status
    assert SECRET not in json.dumps(answer)


@pytest.mark.usefixtures("_edge")
@pytest.mark.parametrize(
    ("method", "path", "function"),
    [
        ("POST", LOGIN, "operators"),
        ("POST", REGISTER, "agents"),
        ("GET", LIST, "commands"),
        ("GET", "/api/v1/operators", "operators"),
    ],
)
def test_no_function_of_the_http_api_answers_requests_that_bypass_the_edge(
    run: Run, method: str, path: str, function: str
) -> None:
    """Not even an authorized operator."""
    assert run(function, request(method, path, {}))["statusCode"] == 403


@pytest.mark.usefixtures("_edge", "agent")
@pytest.mark.parametrize(
    ("headers", "effect"),
    [
        ({"X-Agent-Api-Key": KEY, "X-Origin-Secret": SECRET}, "Allow"),
        ({"X-Agent-Api-Key": KEY}, "Deny"),
        ({"X-Agent-Api-Key": KEY, "x-origin-secret": "k"}, "Deny"),
        ({"x-origin-secret": SECRET}, "Deny"),
    ],
)
def test_an_agents_connection_needs_the_secret_of_the_edge_and_its_key(
    run: Run, headers: dict[str, str], effect: str
) -> None:
    """The gateway keeps the case of header names."""
    answer = run("authorize_agent", sample("authorize_agent") | {"headers": headers})

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
def test_an_empty_value_in_the_secret_is_never_accepted(
    run: Run, monkeypatch: pytest.MonkeyPatch, secret: str, shown_secret: str | None
) -> None:
    """An operator may blank the previous value at the end of a rotation."""
    with secrets_manager(monkeypatch) as secrets:
        monkeypatch.setenv("ORIGIN_SECRET_ARN", secrets.put("origin", secret))
        headers = {} if shown_secret is None else {"x-origin-secret": shown_secret}

        assert run("pages", health_check(headers))["statusCode"] == 403


@pytest.mark.parametrize("secret", [SECRET, "[]", "null", "1", '"x"'])
def test_a_malformed_secret_is_a_server_error_for_every_request(
    run: Run, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """The deployment is wrong; the log says what the secret must hold."""
    with secrets_manager(monkeypatch) as secrets:
        monkeypatch.setenv("ORIGIN_SECRET_ARN", secrets.put("origin", secret))

        answer = run("pages", health_check({"x-origin-secret": SECRET}))

    assert answer["statusCode"] == 500
    assert answer["headers"]["Content-Type"] == "application/problem+json"


def test_without_an_edge_no_secret_is_needed(run: Run) -> None:
    """On one machine, and in a deployment with two hosts."""
    assert run("pages", health_check({}))["statusCode"] == 200


@pytest.mark.usefixtures("_edge")
def test_the_callers_address_is_the_one_that_the_edge_saw(run: Run, conn: Connection) -> None:
    """Everybody shares the addresses of the edge; log-ins are locked by address, and the audit log names it."""
    create = request("POST", "/api/v1/agents", {"agentId": "a1", "platform": "kubernetes"})
    create["headers"] |= {"x-origin-secret": SECRET, "x-caller-address": "198.51.100.7"}

    assert run("agents", create)["statusCode"] == 201
    assert conn.execute("select distinct source_ip from audit_log").fetchall() == [("198.51.100.7",)]


def test_without_an_edge_no_caller_chooses_their_address(run: Run, conn: Connection) -> None:
    """Every caller could send the header."""
    create = request("POST", "/api/v1/agents", {"agentId": "a1", "platform": "kubernetes"})
    create["headers"] |= {"x-caller-address": "198.51.100.7"}

    assert run("agents", create)["statusCode"] == 201
    assert conn.execute("select distinct source_ip from audit_log").fetchall() == [("192.0.2.1",)]


@pytest.mark.usefixtures("_edge", "agent")
def test_a_connection_is_recorded_with_the_address_that_the_edge_saw(run: Run, conn: Connection) -> None:
    """The gateway keeps the case of header names."""
    event = sample("connect")
    event["headers"] = {**event["headers"], "X-Caller-Address": "198.51.100.7"}

    assert run("connect", event)["statusCode"] == 200
    assert conn.execute("select source_ip from agent_connections").fetchall() == [("198.51.100.7",)]
