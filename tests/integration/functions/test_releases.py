"""The check of a release, and the gate through which CodeDeploy asks it."""

import json
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from dispatcher.platform import deployment, functions, releases
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.releases import NotReady
from tests.integration.functions.events import Run


@pytest.fixture(autouse=True)
def _amazon(request: pytest.FixtureRequest, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The APIs of AWS on this machine."""
    request.getfixturevalue("run")  # it sets addresses too
    url = httpserver.url_for("").rstrip("/")
    for name in ("AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL_CODEDEPLOY"):
        monkeypatch.setenv(name, url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("RELEASE_CHECK_FUNCTION", "acd-release-check")


@pytest.fixture
def told(httpserver: HTTPServer) -> list[dict[str, Any]]:
    """What CodeDeploy was told."""
    told: list[dict[str, Any]] = []

    def take(request: Request) -> Response:
        told.append(json.loads(request.data))
        return Response("{}")

    httpserver.expect_request("/", method="POST").respond_with_handler(take)
    return told


def test_a_check_that_lambda_has_to_wake_first_is_no_failed_check(
    run: Run, httpserver: HTTPServer, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function in a VPC that was not invoked for weeks: without a new release of its own it would block a good one."""
    monkeypatch.setattr(deployment, "WAKING_PAUSES", (0.01, 0.01))
    asleep = Response("{}", status=502, headers={"X-Amzn-ErrorType": "ResourceNotReadyException"})
    for _ in range(2 * releases.TRIES):
        httpserver.expect_ordered_request(CHECK, method="POST").respond_with_response(asleep)
    httpserver.expect_ordered_request(CHECK, method="POST").respond_with_response(Response('{"postgres": 17}'))

    assert run("release_gate") == {"status": "Succeeded"}
    assert [call["status"] for call in told] == ["Succeeded"]


CHECK = "/2015-03-31/functions/acd-release-check/invocations"


@pytest.mark.parametrize("status", [410, 400, 404])
def test_a_release_that_finds_all_it_needs_may_serve(conn: Connection, httpserver: HTTPServer, status: int) -> None:
    """The gateway answers that there is no such connection: so there is a way to it, and the right to ask."""
    httpserver.expect_request("/@connections/AAAAAAAAAAAAAAA=").respond_with_data("{}", status=status)

    gateway = ApiGateway(httpserver.url_for("").rstrip("/"))

    assert releases.check(conn, gateway.obstacle)["functions"] == functions.schema()


def test_a_release_without_its_schema_or_its_functions_may_not_serve(conn: Connection, httpserver: HTTPServer) -> None:
    """Every reason is named, and with it the way to agents."""
    httpserver.expect_request("/@connections/AAAAAAAAAAAAAAA=").respond_with_data("{}", status=403)
    conn.execute("delete from schema_migrations where name like '0005%'")
    conn.execute(f'drop schema "{functions.schema()}" cascade'.encode())

    with pytest.raises(NotReady, match=r"0005_rights\.sql.*not in the database.*@connections: HTTP 403"):
        releases.check(conn, ApiGateway(httpserver.url_for("").rstrip("/")).obstacle)


def test_a_release_without_a_way_to_agents_may_not_serve(conn: Connection) -> None:
    """A missing route in the network shows itself here, and not by commands that wait."""
    with pytest.raises(NotReady, match="@connections: no answer"):
        releases.check(conn, ApiGateway("http://127.0.0.1:9").obstacle)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Response('{"postgres": 17}'), "Succeeded"),
        (
            Response('{"errorMessage": "The schema lacks 0010.sql."}', headers={"X-Amz-Function-Error": "Unhandled"}),
            "Failed",
        ),
        (Response("no", status=500), "Failed"),
    ],
)
def test_codedeploy_is_told_what_the_check_found(
    run: Run, httpserver: HTTPServer, told: list[dict[str, Any]], answer: Response, status: str
) -> None:
    """Also if the check cannot run: without an answer CodeDeploy would wait for an hour."""
    httpserver.expect_request(CHECK, method="POST").respond_with_response(answer)

    assert run("release_gate") == {"status": status}

    [call] = told
    assert call == {
        "deploymentId": "d-1ABCDE2FG",
        "lifecycleEventHookExecutionId": "eyJlbmNyeXB0ZWREYXRhIjoiYUVoWUJ",
        "status": status,
    }
