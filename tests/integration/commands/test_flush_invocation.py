"""Invoking flush: asynchronous, and a failure must not refuse the agent's handshake."""

import json
import socket
from collections.abc import Iterator

import pytest
from pytest_httpserver import HTTPServer

from dispatcher.commands.flush import FlushRequest, invoke_flush, invoke_flush_of
from dispatcher.platform import correlation, lambda_api

REQUEST = FlushRequest(agent_id="a1", connection_id="c1", epoch=1, welcome=True)
PATH = "/2015-03-31/functions/acd-flush/invocations"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Credentials as Lambda gives them to a function, and a client for this test only."""
    for name, value in {
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "FLUSH_FUNCTION": "acd-flush",
    }.items():
        monkeypatch.setenv(name, value)
    lambda_api._client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    yield
    lambda_api._client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the logged reasons why flush was not invoked."""
    return [vars(record)["reason"] for record in caplog.records if record.getMessage() == "Flush not invoked"]


@pytest.mark.parametrize("status", [404, 429, 500])
def test_a_refused_invocation_is_logged_and_raises_no_error(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """The sweep delivers instead."""
    httpserver.expect_request(PATH, method="POST").respond_with_data(status=status)
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", httpserver.url_for(""))

    invoke_flush(REQUEST)

    assert refusals(caplog) == [f"HTTP {status}"]


def test_flush_is_invoked_asynchronously_with_its_event(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """202 is Lambda's answer to an asynchronous invocation; a synchronous one would delay the handshake."""
    httpserver.expect_request(PATH, method="POST").respond_with_data(status=202)
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", httpserver.url_for(""))

    trace = {"correlationId": correlation.begin()}
    invoke_flush(REQUEST)
    invoke_flush_of(["a1", "a2"])

    requests = [request for request, _ in httpserver.log]
    assert refusals(caplog) == []
    assert [json.loads(request.data) for request in requests] == [
        REQUEST.as_event() | trace,
        {"agentIds": ["a1", "a2"]} | trace,
    ]
    assert {request.headers["X-Amz-Invocation-Type"] for request in requests} == {"Event"}
    assert all("/lambda/aws4_request" in request.headers["Authorization"] for request in requests)


def test_the_event_of_an_older_version_is_understood() -> None:
    """During an update an older function may have sent it."""
    event = {"agentId": "a1", "connectionId": "c1", "epoch": 1}

    assert FlushRequest.from_event(event) == FlushRequest(agent_id="a1", connection_id="c1", epoch=1, welcome=False)


def test_a_lambda_api_that_does_not_answer_is_tried_only_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent waits 10 s for its handshake, so the timeouts are short and there is no retry."""
    assert lambda_api.CONNECT_SECONDS + lambda_api.READ_SECONDS <= 3
    monkeypatch.setattr(lambda_api, "READ_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", f"http://127.0.0.1:{silent.getsockname()[1]}")

        invoke_flush(REQUEST)

        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert refusals(caplog) == ["TimeoutError"]
