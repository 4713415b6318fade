"""What API Gateway answers to a post, and what that is taken for."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dispatcher.platform import gateway as module
from dispatcher.platform.gateway import ApiGateway, Posted


class Handler(BaseHTTPRequestHandler):
    """Answers with the status that stands in the connection's id; 0 is no answer in time."""

    posts = 0

    def do_POST(self) -> None:
        """Answer one post."""
        type(self).posts += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        status = int(self.path.rpartition("/")[2])
        if status == 0:
            time.sleep(1)
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of something that answers as it is told to."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setattr(module, "READ_SECONDS", 0.3)
    module._client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    Handler.posts = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    module._client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


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
        (0, Posted.UNKNOWN),
    ],
)
def test_each_answer_is_taken_for_what_it_is_and_nothing_is_posted_twice(url: str, status: int, posted: Posted) -> None:
    """Only a 410 says that a connection is gone; and without an answer nobody knows."""
    assert (ApiGateway(url).post(str(status), "{}"), Handler.posts) == (posted, 1)


def test_a_gateway_that_cannot_be_reached_has_taken_nothing(url: str) -> None:
    """There is nobody on that port."""
    del url

    assert ApiGateway("http://127.0.0.1:9").post("200", "{}") is Posted.REFUSED


def test_a_connection_that_is_not_known_to_be_live_is_not(url: str) -> None:
    """Flush asks again: to post too early is worse than to post later."""
    assert not ApiGateway(url).is_live("410")
    assert not ApiGateway("http://127.0.0.1:9").is_live("200")
