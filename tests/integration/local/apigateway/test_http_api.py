"""The HTTP API: odd paths, bodies and answers that the conformance tests do not test."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.gateway.targets import Target


@pytest.mark.parametrize(
    ("path", "route", "parameters"),
    [
        ("/pets/dog/a%2Fb", "GET /pets/dog/{id}", {"id": "a/b"}),
        ("/pets/", "$default", None),
        ("//pets/dog/1", "GET /pets/dog/1", None),
    ],
)
def test_an_odd_path_finds_its_route(served: Target, path: str, route: str, parameters: dict[str, str] | None) -> None:
    """An encoded slash separates nothing, a greedy parameter is not empty, leading slashes count as one."""
    event = served.echo("GET", path)

    assert event["routeKey"] == route
    assert event.get("pathParameters") == parameters


@pytest.mark.parametrize(
    ("kind", "body"), [("application/x-www-form-urlencoded", b"a=1"), ("application/json", b"\xff\xfe"), (None, b"a")]
)
def test_a_body_that_is_not_text_arrives_as_base64(served: Target, kind: str | None, body: bytes) -> None:
    """A form counts as binary, as on AWS, and so does JSON that is not UTF-8."""
    event = served.echo("POST", "/", body, {"content-type": kind} if kind else {})

    assert event["isBase64Encoded"]
    assert base64.b64decode(event["body"]) == body


def test_an_answer_may_have_a_header_several_times(served: Target) -> None:
    """In `multiValueHeaders`."""
    response, _ = served.answer({"statusCode": 201, "multiValueHeaders": {"X-Many": ["a", "b"]}})

    assert response.status == 201
    assert response.headers.get_all("x-many") == ["a", "b"]


@pytest.mark.parametrize(("answer", "expected"), [({"a": 1}, b'{"a": 1}'), ("text", b"text"), (None, b"null")])
def test_an_answer_without_a_status_is_a_body(served: Target, answer: object, expected: bytes) -> None:
    """Any JSON is answered with 200."""
    response, body = served.answer(answer)

    assert response.status == 200
    assert body == expected
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "answer",
    [
        {"statusCode": "x"},
        {"statusCode": float("inf")},
        {"statusCode": 200, "body": {"a": 1}},
        {"statusCode": 200, "headers": {"a": [1]}},
        {"statusCode": 200, "headers": {"a": "b\r\nc: d"}},
        {"statusCode": 200, "headers": {"a b": "c"}},
    ],
)
def test_a_malformed_answer_is_a_500(served: Target, answer: object) -> None:
    """The client gets no details."""
    response, body = served.answer(answer)

    assert response.status == 500
    assert json.loads(body) == {"message": "Internal Server Error"}


def test_the_trace_of_a_failing_function_is_in_the_log(served: Target) -> None:
    """The conformance tests show that the client does not see it."""
    served.ask("GET", "/raise")

    served.until(lambda: ("Http", "[ERROR] ValueError: a secret") in served.log)


def test_head_is_answered_without_a_body(served: Target) -> None:
    """The length is the one that GET would have."""
    response, body = served.ask("HEAD", "/")

    assert response.status == 200
    assert body == b""
    assert int(response.headers["content-length"]) > 0


def test_a_body_of_more_than_ten_megabytes_is_refused(served: Target) -> None:
    """No function runs."""
    response, body = served.ask("POST", "/", b"x" * (10 * 1024 * 1024 + 1))

    assert response.status == 413
    assert json.loads(body) == {"message": "Request Entity Too Large"}


def test_an_authorizer_sees_the_request_without_its_body(served: Target) -> None:
    """Without an identity source it sees every request."""
    served.echo("POST", "/guarded?test=event", b"{}", {"x-key": "yes"})

    events = [event for event in served.recorded("Guard") if event["rawQueryString"] == "test=event"]
    assert events[0]["type"] == "REQUEST"
    assert events[0]["identitySource"] is None
    assert events[0]["routeArn"].endswith(":local/$default/POST/guarded")
    assert "body" not in events[0]


def test_the_server_frames_an_answer_itself(served: Target) -> None:
    """A function's headers about that are dropped, as API Gateway does."""
    framing = {"Transfer-Encoding": "chunked", "Content-Length": "1", "Connection": "close"}
    response, body = served.answer({"statusCode": 200, "headers": framing, "body": "all of it"})

    assert body == b"all of it"
    assert response.getheader("transfer-encoding") is None
    assert response.getheader("connection") is None
