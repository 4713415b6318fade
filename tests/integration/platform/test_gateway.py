"""The @connections client: what each answer of API Gateway means."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dispatcher.platform import gateway as gateway_module
from dispatcher.platform.gateway import ApiGateway, Posted

SILENCE = 0
"""In place of a status: no answer."""


class Handler(BaseHTTPRequestHandler):
    """Answers with the status that the connection's id names; `SILENCE` is no answer."""

    posts = 0

    def do_POST(self) -> None:
        """Answer one post."""
        type(self).posts += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        status = int(self.path.rpartition("/")[2])
        if status == SILENCE:
            self.connection.recv(1)  # until the client gives up
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Log nothing."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that answers as it is told to."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    gateway_module._client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    Handler.posts = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    gateway_module._client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("status", "posted"),
    [
        (200, Posted.TAKEN),
        (410, Posted.GONE),
        (413, Posted.TOO_LARGE),
        (429, Posted.REFUSED),
        (403, Posted.REFUSED),
        (500, Posted.REFUSED),
        (503, Posted.REFUSED),
        (SILENCE, Posted.UNKNOWN),
    ],
)
def test_each_answer_is_taken_for_what_it_is_and_nothing_is_posted_twice(
    url: str, monkeypatch: pytest.MonkeyPatch, status: int, posted: Posted
) -> None:
    """Only a 410 says that a connection is gone; without an answer the message may have arrived."""
    if status == SILENCE:
        monkeypatch.setattr(gateway_module, "READ_SECONDS", 0.3)

    assert ApiGateway(url).post(str(status), "{}") == posted
    assert Handler.posts == 1


def test_a_gateway_that_cannot_be_reached_has_taken_nothing(url: str) -> None:
    """Nothing listens on that port."""
    del url

    assert ApiGateway("http://127.0.0.1:9").post("200", "{}") is Posted.REFUSED


def test_a_connection_that_is_not_known_to_be_live_is_not(url: str) -> None:
    """A post that comes too early loses the connection; flush asks again."""
    assert not ApiGateway(url).is_live("410")
    assert not ApiGateway("http://127.0.0.1:9").is_live("200")
