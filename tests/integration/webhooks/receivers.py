"""Receivers of webhooks: real servers, with and without TLS, that answer as their test says."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme

NAME = "receiver.example"
PUBLIC = "93.184.215.14"
Answer = Callable[["Handler"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request that a receiver got."""

    path: str
    headers: dict[str, str]
    body: str

    @property
    def message_id(self) -> str:
        """The id of the message."""
        return self.headers["webhook-id"]


@dataclass(slots=True, kw_only=True)
class Receiver:
    """A running receiver; `answers` has the answers to the next requests, in order, all later ones are 204."""

    port: int
    scheme: str
    answers: list[int | Answer] = field(default_factory=list[int | Answer])
    received: list[Received] = field(default_factory=list[Received])
    connections: int = 0

    @property
    def url(self) -> str:
        """Its URL on this machine."""
        return f"{self.scheme}://localhost:{self.port}/hooks?from=dispatcher"


class Handler(BaseHTTPRequestHandler):
    """Records a request, and answers it."""

    protocol_version = "HTTP/1.1"
    receiver: Receiver

    def setup(self) -> None:
        """Count the connection."""
        self.receiver.connections += 1
        super().setup()

    def do_POST(self) -> None:
        """Answer a webhook."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.receiver.received.append(Received(path=self.path, headers=headers, body=body))
        answer = self.receiver.answers.pop(0) if self.receiver.answers else 204
        if isinstance(answer, int):
            self.say(answer)
        else:
            with contextlib.suppress(OSError):
                answer(self)

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
        """Log nothing."""


def redirecting(url: str) -> Answer:
    """Answer with a redirect."""
    return lambda handler: handler.say(307, Location=url)


def drip(handler: Handler) -> None:
    """Answer so slowly that each byte comes in time, and the whole never does."""
    for byte in b"HTTP/1.1 200 OK\r\n" + b"x" * 120:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.05)


def drip_headers(handler: Handler) -> None:
    """Send the status at once, and headers that never end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(120):
        handler.wfile.write(b"x: y\r\n")
        time.sleep(0.05)


def endless(handler: Handler) -> None:
    """Accept, with a body that has no end."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 65536)


def closing(handler: Handler) -> None:
    """Accept, and close the connection without announcing it."""
    handler.say(200)
    handler.close_connection = True


class Server(ThreadingHTTPServer):
    """A server whose connections are dropped in silence, as the tests cut them."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def receiver(context: ssl.SSLContext | None = None) -> Generator[Receiver]:
    """Run a receiver on a free port, with TLS if there is a context."""
    handler = type("OwnHandler", (Handler,), {})
    server = Server(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    running = Receiver(port=server.server_address[1], scheme="http" if context is None else "https")
    handler.receiver = running  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()


def certificate_for(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Make a server's context with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Make a client's context that trusts this authority only."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


class PublicSocket(socket.socket):
    """A socket to this machine that says it leads to a public address."""

    def getpeername(self) -> Any:
        """Return the public address."""
        return PUBLIC, 443


@dataclass(slots=True, kw_only=True)
class FakeNetwork:
    """A network whose names lead where the test says, and whose connections all end at one receiver."""

    port: int
    answers: list[Sequence[str]]
    """What each look-up of a name returns; the last one stays."""
    honest: bool = False
    """Whether the sockets say that they lead to this machine."""
    connected: list[str] = field(default_factory=list[str])
    """The addresses that were connected to."""

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """Answer a look-up."""
        del host, port
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def connect(self, address: str, port: int, seconds: float) -> socket.socket:
        """Connect to the receiver."""
        del port
        self.connected.append(address)
        made = socket.socket() if self.honest else PublicSocket()
        made.settimeout(seconds)
        made.connect(("127.0.0.1", self.port))
        return made
