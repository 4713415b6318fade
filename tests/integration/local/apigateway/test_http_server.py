"""HTTP itself: what a client may send, how long it may take, and how many connections there may be."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from local.apigateway import http_server
from tests.gateway.targets import STAGE, local_gateway, report

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.gateway.targets import Target

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextlib.contextmanager
def client(target: Target) -> Generator[socket.socket]:
    """Open a TCP connection."""
    with socket.create_connection(_address(target.http), timeout=20) as opened:
        yield opened


def _address(url: str) -> tuple[str, int]:
    origin = urlsplit(url)
    assert origin.hostname is not None
    assert origin.port is not None
    return origin.hostname, origin.port


def everything(opened: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    parts = list[bytes]()
    with contextlib.suppress(ConnectionResetError):
        while part := opened.recv(65536):
            parts.append(part)
    return b"".join(parts)


def is_served(opened: socket.socket) -> bool:
    """Tell whether a request on this connection is answered."""
    with contextlib.suppress(ConnectionError):
        opened.sendall(GET)
        return opened.recv(65536).startswith(b"HTTP/1.1 200 ")
    return False


def test_head_and_body_of_an_answer_come_in_one_piece(served: Target) -> None:
    """In two pieces, the second one waits 40 ms for the client's delayed acknowledgement on a kept connection."""
    with client(served) as opened:
        opened.sendall(GET)
        head, _, body = opened.recv(65536).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK")
    assert json.loads(body)["rawPath"] == "/"


def test_requests_on_one_connection_are_answered_in_order(served: Target) -> None:
    """Also if the client does not wait for the answers, and the last one closes the connection."""
    paths = [f"/pets/dog/{number}" for number in range(5)]
    with client(served) as opened:
        for path in paths:
            opened.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        opened.sendall(b"GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answers = everything(opened)

    found = [
        json.loads(part.partition(b"\r\n\r\n")[2])["rawPath"] for part in answers.split(b"HTTP/1.1 200 OK\r\n")[1:]
    ]
    assert found == [*paths, "/last"]


def test_a_body_in_chunks_is_one_body(served: Target) -> None:
    """The client is told to continue if it asks."""
    with client(served) as opened:
        opened.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nExpect: 100-continue\r\n"
            b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        told = opened.recv(65536)
        opened.sendall(b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")
        answer = everything(opened)

    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["body"] == "abcde"


def test_a_client_that_sends_no_more_still_gets_its_answer(served: Target) -> None:
    """It has closed its half of the connection."""
    with client(served) as opened:
        opened.sendall(GET)
        opened.shutdown(socket.SHUT_WR)

        assert everything(opened).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"NO HTTP\r\n\r\n", b"400", id="no HTTP"),
        pytest.param(b"GET /" + b"a" * 11_000 + b" HTTP/1.1\r\n\r\n", b"431", id="a long request line"),
        pytest.param(b"GET / HTTP/1.1\r\nA: " + b"a" * 11_000 + b"\r\n\r\n", b"431", id="a long header"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 6_000 + b"\r\n", b"431", id="many headers"),
        pytest.param(b"GET / HTTP/1.1\r\nA: " + b"a" * 11_000, b"431", id="a header without an end"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: a\r\n\r\n",
            b"400",
            id="a header behind the body",
        ),
        pytest.param(
            b"GET http://a:999999/ HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            b"400",
            id="a handshake without a URL",
        ),
    ],
)
def test_a_head_that_is_wrong_or_too_large_is_refused(served: Target, sent: bytes, status: bytes) -> None:
    """And the connection is closed; API Gateway takes 10,240 bytes."""
    with client(served) as opened:
        opened.sendall(sent)

        assert everything(opened).startswith(b"HTTP/1.1 " + status)


def test_a_head_of_ten_thousand_bytes_is_served(served: Target) -> None:
    """It is within the limit."""
    response, _ = served.ask("GET", "/", headers={"a": "a" * 10_000})

    assert response.status == 200


def test_bodies_that_are_never_complete_do_not_fill_the_memory(served: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection that passes the limit is cut; what the others hold is freed with them."""
    monkeypatch.setattr(http_server, "_BODIES_LIMIT", 3_000_000)
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n"
    for _ in range(3):
        with client(served) as first, client(served) as second:
            first.sendall(head + b"x" * 1_900_000)
            with contextlib.suppress(ConnectionError):
                second.sendall(head + b"x" * 1_900_000)

            cut, _, _ = select.select([first, second], [], [], 20)
            assert everything(cut[0]) == b""


def test_a_client_that_does_not_read_is_not_served_on(served: Target) -> None:
    """Its answers would pile up in memory."""
    body = b"x" * 1_000_000
    request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + body
    with client(served) as opened:
        opened.settimeout(2)
        with pytest.raises(TimeoutError):
            _send(opened, [request] * 50)


def _send(opened: socket.socket, requests: list[bytes]) -> None:
    for request in requests:
        opened.sendall(request)


def test_connections_without_a_request_are_closed() -> None:
    """One whose head does not arrive, and one that is kept open; a WebSocket stays open."""
    with local_gateway(head_seconds=1.0, kept_seconds=1.0) as own, own.connected("waiting") as (agent, _):
        agent.send("slow")
        with client(own) as kept, client(own) as slow:
            slow.sendall(b"GET / HT")
            assert is_served(kept)

            assert everything(slow) == b""
            assert everything(kept) == b""
        assert report(agent)["event"]["body"] == "slow"
        agent.send("still open")
        assert report(agent)["event"]["body"] == "still open"


def test_a_flood_of_idle_connections_closes_only_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others, and new clients, are still served."""
    monkeypatch.setattr(http_server, "connection_limit", lambda: 20)
    with contextlib.ExitStack() as stack, local_gateway() as own:
        agent, identity = stack.enter_context(own.connected("steady"))
        kept = stack.enter_context(client(own))
        assert is_served(kept)
        flood = [stack.enter_context(client(own)) for _ in range(60)]

        with client(own) as new:
            assert is_served(new)
        assert is_served(kept)
        own.connections.post_to_connection(ConnectionId=identity, Data=b"still here")
        assert agent.recv(timeout=20) == "still here"
        assert everything(flood[0]) == b""


PROGRAM = """
import asyncio, resource, sys
from pathlib import Path
import uvloop
from local import ports
from local.apigateway.listener import Gateway
from local.lambda_runtime.runtime import Runtime
from local.sam_template.resources import Deployment

async def main():
    listener = ports.listen(0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    deployment = Deployment.load(Path(sys.argv[1]), {"Gateway": url})
    runtime = Runtime(deployment, gateway_url=url, log=lambda *_: None, preload=())
    await Gateway(runtime).serve(listener, ready=lambda: print(url, flush=True))

resource.setrlimit(resource.RLIMIT_NOFILE, (100, 260))
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""


def test_more_connections_than_descriptors_do_not_end_the_service() -> None:
    """It raises its own limit as far as it may, and a new client is served."""
    root = Path(__file__).parents[4]
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(STAGE / "template.yaml")],
                stdout=subprocess.PIPE,
                cwd=root,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                text=True,
            )
        )
        stack.callback(process.kill)
        assert process.stdout is not None
        address = _address(process.stdout.readline().strip())
        for _ in range(400):
            stack.enter_context(socket.create_connection(address, timeout=20))

        with socket.create_connection(address, timeout=20) as new:
            assert is_served(new)
        assert process.poll() is None
