"""Lambda's API: what each answer means for a caller who waits for the function's own."""

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from dispatcher.platform.lambda_api import NotInvokedError, NotReportedError, invoke_and_wait


@pytest.fixture
def function(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> HTTPServer:
    """Lambda's API, for this process."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", httpserver.url_for("/").rstrip("/"))
    return httpserver


def test_a_function_answers(function: HTTPServer) -> None:
    """The caller gets its object."""
    function.expect_request("/2015-03-31/functions/webhook/invocations", method="POST").respond_with_json({"a": 1})

    assert invoke_and_wait("webhook", b"{}", 2) == {"a": 1}


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, '{"errorType": "Sandbox.Timedout", "errorMessage": "x"}'), (200, "null"), (500, ""), (502, ""), (None, "")],
)
def test_a_function_that_failed_may_have_done_its_work(function: HTTPServer, status: int | None, body: str) -> None:
    """It was killed, or its answer was lost."""

    def answer(_: Request) -> Response:
        if status is None:
            raise ConnectionAbortedError
        return Response(body, status)

    function.expect_request("/2015-03-31/functions/webhook/invocations").respond_with_handler(answer)
    with pytest.raises(NotReportedError):
        invoke_and_wait("webhook", b"{}", 2)


@pytest.mark.parametrize("status", [403, 404, 429])
def test_a_function_that_was_not_invoked_has_done_nothing(function: HTTPServer, status: int) -> None:
    """Throttled, forbidden, not there."""
    function.expect_request("/2015-03-31/functions/webhook/invocations").respond_with_data("", status)

    with pytest.raises(NotInvokedError):
        invoke_and_wait("webhook", b"{}", 2)


def test_an_api_that_is_not_there_invokes_nothing(function: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection, no invocation."""
    del function
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:9")

    with pytest.raises(NotInvokedError):
        invoke_and_wait("webhook", b"{}", 2)
