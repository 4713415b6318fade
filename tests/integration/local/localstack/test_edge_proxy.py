"""One host for two APIs: what CloudFront does on AWS, and the front door on one machine."""

import contextlib
import http.server
import threading
from collections.abc import Generator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from local.http_client import Client
from local.localstack import edge_proxy
from local.localstack.edge_proxy import Origins

ORIGINS = Origins(http="http://127.0.0.1:1/_aws/h/$default", sockets="http://127.0.0.1:1/_aws/s/live")


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        (b"GET /healthz HTTP/1.1", b"GET /_aws/h/$default/healthz HTTP/1.1"),
        (
            b"POST /api/v1/agents/register?a=%2F HTTP/1.1",
            b"POST /_aws/h/$default/api/v1/agents/register?a=%2F HTTP/1.1",
        ),
        (b"GET /api/v1/agents/connect?agent_id=a HTTP/1.1", b"GET /_aws/s/live?agent_id=a HTTP/1.1"),
        (b"GET //api/v1/agents/connect?agent_id=a HTTP/1.1", b"GET /_aws/s/live?agent_id=a HTTP/1.1"),
    ],
)
def test_the_path_chooses_the_api(asked: bytes, first: bytes) -> None:
    """Agents whose URL ends with a slash ask with two."""
    head = edge_proxy.rewritten(asked + b"\r\nHost: one.example\r\nX-Agent-Api-Key: k\r\n\r\n", ORIGINS)

    lines = head.split(b"\r\n")
    assert lines[0] == first
    assert b"Host: 127.0.0.1:1" in lines
    assert b"X-Agent-Api-Key: k" in lines
    assert not any(b"one.example" in line for line in lines)
    assert head.endswith(b"\r\n\r\n")


def test_an_http_request_and_its_answer_pass() -> None:
    """With the body, the headers and the path that the API has behind its stage."""
    with _http_origin() as origin, edge_proxy.opened(Origins(http=f"{origin}/api", sockets=origin)) as url:
        answer = Client(url=url, token="t").post("/echo?q=1", {"a": "ü" * 100_000})

    assert answer["path"] == "/api/echo?q=1"
    assert answer["authorization"] == "Bearer t"
    assert answer["length"] > 100_000


def test_a_socket_passes_until_either_side_closes() -> None:
    """Both ways, and the close code too."""
    seen: list[str] = []

    def handler(socket: ServerConnection) -> None:
        assert socket.request is not None
        seen.append(socket.request.path)
        seen.append(socket.request.headers["X-Agent-Api-Key"])
        socket.send(str(socket.recv()).upper())
        socket.close(4000, "enough")

    with _socket_origin(handler) as origin, edge_proxy.opened(Origins(http=origin, sockets=f"{origin}/live")) as url:
        target = f"ws{url.removeprefix('http')}/api/v1/agents/connect?agent_id=a"
        with connect(target, additional_headers={"X-Agent-Api-Key": "k"}, proxy=None) as agent:
            agent.send("hello")
            heard = agent.recv(timeout=5)
            with pytest.raises(ConnectionClosed):
                agent.recv(timeout=5)

    assert heard == "HELLO"
    assert seen == ["/live?agent_id=a", "k"]
    assert (agent.close_code, agent.close_reason) == (4000, "enough")


def test_the_origin_learns_that_an_agent_was_killed() -> None:
    """It would be online for ever otherwise."""
    ended = threading.Event()

    def handler(socket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosedError):
            socket.recv()
        ended.set()

    with _socket_origin(handler) as origin, edge_proxy.opened(Origins(http=origin, sockets=origin)) as url:
        agent = connect(f"ws{url.removeprefix('http')}/api/v1/agents/connect", proxy=None)
        agent.socket.shutdown(2)

        assert ended.wait(5)


class _Echo(http.server.BaseHTTPRequestHandler):
    """Tells what it was asked."""

    def do_POST(self) -> None:
        """Answer with the request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        told = (
            f'{{"path": "{self.path}", "authorization": "{self.headers["Authorization"]}", "length": {len(body)}}}'
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@contextlib.contextmanager
def _http_origin() -> Generator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def _socket_origin(handler: Any) -> Generator[str]:
    with serve(handler, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()
