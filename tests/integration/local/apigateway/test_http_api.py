"""The HTTP API, the schedules, and how the gateway starts and stops."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import http.client
import json
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from websockets.sync.client import connect

from local.apigateway.listener import Gateway
from local.lambda_runtime.runtime import Runtime
from local.sam_template.resources import Deployment
from tests.integration.local.apigateway.serving import Served, closing, overfill, serving

if TYPE_CHECKING:
    from pathlib import Path


def ask(
    served: Served, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    """Send one request, its path exactly as given."""
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def event_of(served: Served, method: str, path: str, body: bytes | None = None, **headers: str) -> dict[str, Any]:
    """Return the event that the function got, which it echoes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    event: dict[str, Any] = json.loads(ask(served, method, path, body, named)[1])
    return event


def answer_to(served: Served, answer: object) -> tuple[http.client.HTTPResponse, bytes]:
    """Have the function return `answer`, and return what the gateway makes of it."""
    return ask(served, "POST", "/answer", json.dumps(answer).encode(), {"content-type": "application/json"})


@pytest.mark.parametrize(
    ("method", "path", "route", "parameters"),
    [
        ("GET", "/pets/dog/1", "GET /pets/dog/1", None),
        ("GET", "/pets/dog/2", "GET /pets/dog/{id}", {"id": "2"}),
        ("GET", "/pets/dog/a%2Fb", "GET /pets/dog/{id}", {"id": "a/b"}),
        ("GET", "/pets/cat/3/tail", "GET /pets/{proxy+}", {"proxy": "cat/3/tail"}),
        ("PUT", "/pets/dog/1", "ANY /pets/{proxy+}", {"proxy": "dog/1"}),
        ("POST", "/pets/dog/commands", "POST /pets/{kind}/commands", {"kind": "dog"}),
        ("DELETE", "/pets/dog/commands", "ANY /pets/{proxy+}", {"proxy": "dog/commands"}),
        ("GET", "/pets/", "$default", None),
        ("GET", "/", "$default", None),
        ("GET", "//pets/dog/1", "GET /pets/dog/1", None),
    ],
)
def test_the_most_specific_route_is_chosen(
    served: Served, method: str, path: str, route: str, parameters: dict[str, str] | None
) -> None:
    """Exact before variable before greedy before $default, a method before ANY; leading slashes are folded."""
    event = event_of(served, method, path)

    assert (event["routeKey"], event.get("pathParameters")) == (route, parameters)


def test_an_event_has_payload_format_two(served: Served) -> None:
    """Headers are lower-cased and joined, cookies and parameters split, the context is complete."""
    event = event_of(
        served, "POST", "/x%20y?a=1&a=2&b=", b'{"a":1}', Content_Type="application/json", Cookie="k=v; l=w", X_Key="K"
    )

    context = event["requestContext"]
    assert event["version"] == "2.0"
    assert (event["rawPath"], event["rawQueryString"]) == ("/x y", "a=1&a=2&b=")
    assert event["queryStringParameters"] == {"a": "1,2", "b": ""}
    assert event["cookies"] == ["k=v", "l=w"]
    assert event["headers"]["x-key"] == "K"
    assert "cookie" not in event["headers"]
    assert (event["body"], event["isBase64Encoded"]) == ('{"a":1}', False)
    assert context["http"]["method"] == "POST"
    assert context["http"]["sourceIp"] == "127.0.0.1"
    assert context["stage"] == "$default"
    assert abs(context["timeEpoch"] / 1000 - time.time()) < 10


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/octet-stream", b"plain"),
        ("application/x-www-form-urlencoded", b"a=1"),
        ("application/json", b"\xff\xfe"),
    ],
)
def test_a_body_that_is_not_text_arrives_as_base64(served: Served, kind: str, body: bytes) -> None:
    """Forms count as binary, as on AWS, and so does text that is no UTF-8."""
    event = event_of(served, "POST", "/", body, Content_Type=kind)

    assert event["isBase64Encoded"]
    assert base64.b64decode(event["body"]) == body


def test_an_answer_is_read_by_the_rules_of_payload_format_two(served: Served) -> None:
    """Status, headers, cookies and a binary body reach the client."""
    response, body = answer_to(
        served,
        {
            "statusCode": 201,
            "headers": {"X-One": "1", "content-type": "image/png"},
            "multiValueHeaders": {"X-Many": ["a", "b"]},
            "cookies": ["k=v", "l=w"],
            "body": base64.b64encode(b"\x00\xff").decode(),
            "isBase64Encoded": True,
        },
    )

    assert (response.status, body) == (201, b"\x00\xff")
    assert response.headers["x-one"] == "1"
    assert response.headers.get_all("x-many") == ["a", "b"]
    assert response.headers.get_all("set-cookie") == ["k=v", "l=w"]


@pytest.mark.parametrize(("answer", "expected"), [({"a": 1}, b'{"a": 1}'), ("text", b"text"), (None, b"null")])
def test_an_answer_without_a_status_is_a_body(served: Served, answer: object, expected: bytes) -> None:
    """Any JSON is answered with 200."""
    response, body = answer_to(served, answer)

    assert (response.status, body) == (200, expected)
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "answer", [{"statusCode": "x"}, {"statusCode": 200, "body": {"a": 1}}, {"statusCode": 200, "headers": {"a": [1]}}]
)
def test_a_malformed_answer_is_a_500(served: Served, answer: object) -> None:
    """The client learns nothing more."""
    response, body = answer_to(served, answer)

    assert (response.status, json.loads(body)) == (500, {"message": "Internal Server Error"})


def test_a_failing_function_is_a_500_and_its_trace_is_in_the_log(served: Served) -> None:
    """The client does not see the exception; the log does."""
    response, body = ask(served, "GET", "/raise")

    assert (response.status, json.loads(body)) == (500, {"message": "Internal Server Error"})
    assert ("Http", "[ERROR] ValueError: a secret") in served.lines


def test_head_is_answered_without_a_body(served: Served) -> None:
    """The length is that of what GET would bring."""
    response, body = ask(served, "HEAD", "/")

    assert (response.status, body) == (200, b"")
    assert int(response.headers["content-length"]) > 0


def test_a_body_of_more_than_ten_megabytes_is_refused(served: Served) -> None:
    """No function runs."""
    response, body = ask(served, "POST", "/", b"x" * (10 * 1024 * 1024 + 1))

    assert (response.status, json.loads(body)) == (413, {"message": "Request Entity Too Large"})


def test_an_authorizer_lets_in_and_its_context_reaches_the_function(served: Served) -> None:
    """The function finds it under authorizer.lambda."""
    event = event_of(served, "GET", "/guarded?a=1", X_Key="yes")

    assert event["requestContext"]["authorizer"] == {"lambda": {"role": "operator", "level": 3}}
    asked = served.recorded("Guard")[-1]["event"]
    assert (asked["type"], asked["version"], asked["identitySource"]) == ("REQUEST", "2.0", None)
    assert asked["routeArn"].endswith(":local/$default/GET/guarded")
    assert "body" not in asked


@pytest.mark.parametrize(
    ("path", "key", "status", "message"),
    [
        ("/guarded", "no", 403, "Forbidden"),
        ("/guarded", "broken", 500, "Internal Server Error"),
        ("/keyed", "", 401, "Unauthorized"),
    ],
)
def test_an_authorizer_keeps_out(served: Served, path: str, key: str, status: int, message: str) -> None:
    """No is 403, a failure is 500, a missing identity is 401 before the authorizer is asked."""
    response, body = ask(served, "GET", path, headers={"X-Key": key} if key else {})

    assert (response.status, json.loads(body)) == (status, {"message": message})


def test_a_schedule_runs_its_function_again_and_again(served: Served) -> None:
    """The event is the scheduler's own, where the template gives none."""
    events = served.wait_for("Tick", count=2)

    assert events[0]["event"]["source"] == "aws.scheduler"
    assert events[0]["event"]["detail-type"] == "Scheduled Event"


def test_a_taken_port_is_an_error_that_can_be_told_from_others(tmp_path: Path) -> None:
    """It is raised, and does not end the process."""
    (tmp_path / "template.yaml").write_text("Resources: {}", encoding="utf-8")
    deployment = Deployment.load(tmp_path / "template.yaml")

    async def serve(port: int) -> None:
        runtime = Runtime(deployment, gateway_url="", log=lambda _name, _line: None)
        await Gateway(deployment, runtime).serve(port=port)

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use") as raised:
        asyncio.run(serve(taken.getsockname()[1]))

    assert raised.value.errno == errno.EADDRINUSE


def test_a_stop_closes_open_sockets_as_going_away_and_is_quick(tmp_path: Path) -> None:
    """Each of them still gets its $disconnect."""
    with contextlib.ExitStack() as sockets:
        with serving(tmp_path) as own:
            agents = [sockets.enter_context(connect(own.socket_url(f"agent-{number}"))) for number in range(3)]
            started = time.monotonic()
        took = time.monotonic() - started
        closes = [closing(agent) for agent in agents]

    assert took < 3
    assert closes == [(1001, "Going away")] * 3
    assert len(own.recorded("Disconnect")) == 3


def test_a_client_that_does_not_read_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    """What it was sent is dropped."""
    with contextlib.ExitStack() as sockets:
        with serving(tmp_path) as own:
            agent = sockets.enter_context(connect(own.socket_url("stuck"), max_queue=1))
            client, identity = own.client(), own.connection_id("stuck")
            with pytest.raises(ClientError):
                overfill(client, identity)
            started = time.monotonic()
        took = time.monotonic() - started
        agent.socket.shutdown(socket.SHUT_RDWR)

    assert took < 4
