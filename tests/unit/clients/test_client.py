"""The HTTP client over real sockets: what it repeats, what it raises, how it reads lists."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from command_dispatcher.client import (
    AsyncClient,
    Client,
    CommandFailed,
    Conflict,
    DispatcherError,
    GaveUpWaiting,
    IdempotencyKeyReused,
    InvalidRequest,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Problem,
    QueueFull,
    Retries,
    ServiceFailed,
    TooManyRequests,
    UnexpectedAnswer,
    UnknownAgent,
    Unreachable,
)

QUICK = Retries(first_seconds=0.001)
COMMAND: dict[str, Any] = {
    "commandId": "cmd-1",
    "agentId": "edge-1",
    "sessionId": None,
    "action": "restart",
    "status": "pending",
    "errorMessage": None,
    "createdAt": "2026-11-23T08:00:00Z",
    "sentAt": None,
    "acknowledgedAt": None,
    "completedAt": None,
    "priority": 0,
    "notBefore": None,
    "deliverBy": None,
    "executionTimeoutSeconds": 600,
    "maxAttempts": 10,
    "attempt": 0,
    "cancelRequestedAt": None,
    "cause": "accepted",
    "submittedBy": "admin",
    "redriveOf": None,
    "payload": {},
    "result": None,
    "progress": None,
}
KEY = {"keyId": "k", "createdAt": "2026-11-23T08:00:00Z", "createdBy": None}


Call = Callable[[Callable[[Any], Any]], Any]


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, httpserver: HTTPServer) -> Call:
    """Call the sync or the async client; each test runs with both."""

    def run(use: Callable[[Any], Any]) -> Any:
        url = httpserver.url_for("/")
        if request.param == "sync":
            with Client(url, "secret", retries=QUICK) as client:
                return use(client)

        async def later() -> Any:
            async with AsyncClient(url, "secret", retries=QUICK) as client:
                return await use(client)

        return asyncio.run(later())

    return run


class Script:
    """Answers each request with the next of its answers, the last one again; records the requests."""

    def __init__(self, *answers: tuple[int, Any, dict[str, str]]) -> None:
        self.answers = list(answers)
        self.seen: list[Request] = []

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        self.seen.append(request)
        status, body, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        response = Response(status=status, headers=headers)
        if isinstance(body, bytes):
            response.data = body
        elif body is not None:
            response.data = json.dumps(body)
        return response


Answering = Callable[..., Script]


@pytest.fixture
def script(httpserver: HTTPServer) -> Answering:
    """Make the service answer as a test says."""

    def install(*answers: tuple[int, Any, dict[str, str]]) -> Script:
        made = Script(*answers)
        httpserver.expect_request(re.compile(".*")).respond_with_handler(made.answer)
        return made

    return install


def test_a_get_is_repeated_after_a_transient_failure(call: Call, script: Answering) -> None:
    """The caller sees only the answer."""
    service = script((503, {"message": "Service Unavailable"}, {}), (502, b"", {}), (200, COMMAND, {}))
    found = call(lambda client: client.commands.get("cmd-1"))
    assert (found.command_id, found.status, len(service.seen)) == ("cmd-1", "pending", 3)


def test_a_submission_is_repeated_under_one_key(call: Call, script: Answering) -> None:
    """The service recognises the repetition, so the command is submitted once."""
    service = script((504, b"", {}), (202, COMMAND, {}))
    sent = call(lambda client: client.send("edge-1", "restart", {"now": True}))
    keys = {request.headers["Idempotency-Key"] for request in service.seen}
    assert keys == {sent.idempotency_key}
    assert [request.get_json() for request in service.seen] == [{"action": "restart", "payload": {"now": True}}] * 2


def test_what_has_no_key_is_never_repeated(call: Call, script: Answering) -> None:
    """A second creation would be a second effect."""
    service = script((503, {}, {}))
    with pytest.raises(ServiceFailed):
        call(lambda client: client.tokens.create(name="ci", role="reader"))
    assert len(service.seen) == 1


def test_the_service_says_how_long_to_wait(call: Call, script: Answering) -> None:
    """Retry-After is a lower bound for the pause."""
    script((429, {"title": "slow"}, {"Retry-After": "1"}), (200, COMMAND, {}))
    begun = time.monotonic()
    call(lambda client: client.commands.get("cmd-1"))
    assert time.monotonic() - begun >= 1


def test_a_long_retry_after_is_told_and_not_waited_for(call: Call, script: Answering) -> None:
    """A program decides itself whether to wait for a minute."""
    document = {"type": "urn:agent-command-dispatcher:problem:queue-full", "title": "Full", "detail": "edge-1 is full."}
    service = script((429, document, {"Retry-After": "60"}))
    with pytest.raises(QueueFull) as raised:
        call(lambda client: client.send("edge-1", "restart"))
    assert (raised.value.retry_after, str(raised.value), len(service.seen)) == (60.0, "edge-1 is full.", 1)


@pytest.mark.parametrize(
    ("status", "slug", "kind"),
    [
        (400, "invalid-request", InvalidRequest),
        (401, "not-authenticated", NotAuthenticated),
        (403, "not-allowed", NotAllowed),
        (404, "unknown-agent", UnknownAgent),
        (404, "new-kind", NotFound),
        (409, "idempotency-key-reused", IdempotencyKeyReused),
        (409, "conflict", Conflict),
        (418, "new-kind", Problem),
        (422, "unprocessable", InvalidRequest),
        (429, "rate-exceeded", TooManyRequests),
        (500, "internal-error", ServiceFailed),
    ],
)
def test_each_problem_is_an_exception_of_its_own(
    script: Answering, httpserver: HTTPServer, status: int, slug: str, kind: type
) -> None:
    """By its type, else by its status; all have one base."""
    script((status, {"type": f"urn:agent-command-dispatcher:problem:{slug}", "title": "T", "detail": "D"}, {}))
    with (
        Client(httpserver.url_for("/"), "t", retries=Retries(attempts=1)) as client,
        pytest.raises(DispatcherError) as raised,
    ):
        client.agents.get("edge-1")
    assert type(raised.value) is kind
    assert isinstance(raised.value, Problem)
    assert raised.value.document["detail"] == "D"


def test_a_list_is_read_page_by_page(call: Call, script: Answering) -> None:
    """Each page is asked for when its first item is wanted, with the filters of the first."""
    pages = [{"keys": [{**KEY, "keyId": name}], "nextCursor": after} for name, after in (("a", "p2"), ("b", None))]
    service = script((200, pages[0], {}), (200, pages[1], {}))

    def read(client: Any) -> Any:
        found = client.agents.keys("edge/1", limit=1)
        if isinstance(client, Client):
            return [key.key_id for key in found]

        async def collect() -> list[str]:
            return [key.key_id async for key in found]

        return collect()

    assert call(read) == ["a", "b"]
    assert [request.query_string for request in service.seen] == [b"limit=1", b"limit=1&cursor=p2"]
    assert service.seen[0].environ["RAW_URI"].startswith("/api/v1/agents/edge%2F1/keys")


def test_filters_are_written_as_the_api_reads_them(call: Call, script: Answering) -> None:
    """A list is repeated, a flag is true or false, what is not given is left out."""
    service = script((200, {"agents": [], "nextCursor": None}, {}))

    def read(client: Any) -> Any:
        pages = client.agents.list(selector="env=prod,tier in (a,b)", backlog=True).pages()
        return next(pages) if isinstance(client, Client) else anext(pages)

    call(read)
    assert service.seen[0].args.to_dict(flat=False) == {"selector": ["env=prod,tier in (a,b)"], "backlog": ["true"]}


def test_a_patch_tells_null_from_what_is_not_said(call: Call, script: Answering) -> None:
    """None removes a label; a region that is not given stays."""
    service = script((404, {}, {}))
    with pytest.raises(NotFound):
        call(lambda client: client.agents.change("edge-1", labels={"old": None, "zone": "eu"}))
    assert service.seen[0].get_json() == {"labels": {"old": None, "zone": "eu"}}


def test_wait_returns_the_command_when_it_has_ended(call: Call, script: Answering) -> None:
    """Well or not; the caller looks at its status."""
    script(
        (202, COMMAND, {}), (200, COMMAND, {}), (200, {**COMMAND, "status": "failed", "errorMessage": "no disk"}, {})
    )

    async def later(client: Any) -> Any:
        return await (await client.send("edge-1", "restart")).wait(5)

    ended = call(
        lambda client: client.send("edge-1", "restart").wait(5) if isinstance(client, Client) else later(client)
    )
    assert (ended.status, ended.error_message) == ("failed", "no disk")


def test_result_raises_when_the_command_failed(httpserver: HTTPServer, script: Answering) -> None:
    """A program that wants only the result cannot overlook the failure."""
    script((202, COMMAND, {}), (200, {**COMMAND, "status": "failed", "errorMessage": "no disk"}, {}))
    with Client(httpserver.url_for("/"), "t") as client, pytest.raises(CommandFailed, match="no disk"):
        client.send("edge-1", "restart").result(5)


def test_wait_gives_up_in_time(call: Call, script: Answering) -> None:
    """The command itself goes on."""
    script((200, COMMAND, {}))
    with pytest.raises(GaveUpWaiting, match="cmd-1"):
        call(lambda client: client.wait("cmd-1", 0.2))


def test_who_waits_may_survive_transient_failures(httpserver: HTTPServer, script: Answering) -> None:
    """Each is told; without a listener the first one is raised."""
    failures: list[DispatcherError] = []
    ended = {**COMMAND, "status": "completed"}
    script((503, {}, {}), (503, {}, {}), (200, COMMAND, {}), (502, {}, {}), (200, ended, {}))
    with Client(httpserver.url_for("/"), "t", retries=Retries(attempts=1)) as client:
        seen = [command.status for command in client.watch("cmd-1", 10, on_failure=failures.append)]
    assert (seen, [type(failure) for failure in failures]) == (["pending", "completed"], [ServiceFailed] * 3)


def test_the_feed_is_followed_page_by_page(httpserver: HTTPServer, script: Answering) -> None:
    """From the last page's position, over a failure too: nothing is skipped, nothing comes twice."""
    event = {"id": "1", "type": "command.sent", "at": "2026-11-23T08:00:00Z", "agentId": "a"}
    service = script(
        (200, {"events": [event], "after": "p1"}, {}),
        (503, {}, {}),
        (200, {"events": [], "after": "p2"}, {}),
        (200, {"events": [{**event, "id": "2"}], "after": "p3"}, {}),
    )
    told: list[DispatcherError] = []
    with Client(httpserver.url_for("/"), "t", retries=Retries(attempts=1)) as client:
        found = list(islice(client.follow("start", on_failure=told.append), 2))
    assert ([each.id for each in found], len(told)) == (["1", "2"], 1)
    assert [request.args["after"] for request in service.seen] == ["start", "p1", "p1", "p2"]


def test_no_answer_is_an_error_of_the_client() -> None:
    """Programs catch one base, not those of a library."""
    with socket.socket() as nobody:  # bound, and nobody listens
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with Client(url, "t", retries=QUICK) as client, pytest.raises(Unreachable):
            client.health()


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, b"<html>Welcome</html>", {}),
        (200, [], {}),
        (200, {**COMMAND, "createdAt": 5}, {}),
        (200, {"commandId": "cmd-1"}, {}),
        (302, b"", {"Location": "https://elsewhere.example"}),
    ],
)
def test_an_answer_of_something_else_says_so(
    call: Call, script: Answering, status: int, body: Any, headers: dict[str, str]
) -> None:
    """Not a KeyError somewhere in the client."""
    script((status, body, headers))
    with pytest.raises(UnexpectedAnswer):
        call(lambda client: client.commands.get("cmd-1"))


def test_members_of_a_newer_service_are_kept(call: Call, script: Answering) -> None:
    """They do no harm, and are in `raw`."""
    script((200, {**COMMAND, "novel": 1}, {}))
    assert call(lambda client: client.commands.get("cmd-1")).raw["novel"] == 1


@pytest.mark.parametrize("url", ["", "dispatcher.example.com", "ftp://x", "https://user@host", "https://host?a=b"])
def test_a_wrong_url_is_refused_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a token is sent anywhere."""
    monkeypatch.delenv("DISPATCHER_URL", raising=False)
    with pytest.raises(ValueError, match="URL"):
        Client(url, "t")


def test_a_proxy_of_the_environment_is_used(script: Answering, httpserver: HTTPServer, monkeypatch: Any) -> None:
    """Its password goes to it, and not into the URL; a host of NO_PROXY is asked directly."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    seen = script((200, COMMAND, {}))
    login = "ada:se%20cret"
    monkeypatch.setenv("http_proxy", httpserver.url_for("").replace("://", f"://{login}@").rstrip("/"))

    with Client("http://service.invalid/base", "secret", retries=QUICK) as client:
        client.commands.get("cmd-1")
    monkeypatch.setenv("no_proxy", "service.invalid")
    with Client("http://service.invalid", "secret", retries=Retries(attempts=1)) as client, pytest.raises(Unreachable):
        client.commands.get("cmd-1")

    [request] = seen.seen
    assert request.environ["REQUEST_URI"] == "http://service.invalid/base/api/v1/commands/cmd-1"
    assert request.headers["Proxy-Authorization"] == "Basic YWRhOnNlIGNyZXQ="


def test_a_connection_that_the_service_has_closed_is_opened_again() -> None:
    """Without using up an attempt; each thread has a connection of its own."""
    closed = threading.Semaphore(0)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            body = json.dumps(COMMAND).encode()
            for _ in range(3):
                connection, _ = server.accept()
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                connection.close()
                closed.release()

        serving = threading.Thread(target=answer)
        serving.start()
        with Client(f"http://127.0.0.1:{server.getsockname()[1]}", "secret", retries=Retries(attempts=1)) as client:
            found = [client.commands.get("cmd-1").command_id]
            closed.acquire()
            found.append(client.commands.get("cmd-1").command_id)
            other = threading.Thread(target=lambda: found.append(client.commands.get("cmd-1").command_id))
            other.start()
            other.join()
        serving.join()

    assert found == ["cmd-1"] * 3


def test_a_token_that_no_header_can_have_is_refused(httpserver: HTTPServer) -> None:
    """It is a failure with words, and not a stack trace."""
    with Client(httpserver.url_for(""), "two\nlines", retries=QUICK) as client, pytest.raises(DispatcherError):
        client.commands.get("cmd-1")
