"""HTTP/1.1 on one port: parses requests with httptools, answers them in order, and bounds what a client may take.

A server of its own, because a message through this machine costs several requests: each is one write, without a task.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import time
from collections import deque
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools

from local.apigateway.http_messages import Request, Response, joined, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.apigateway.websocket_api import Connections

HEAD_LIMIT = 10_240  # bytes of the request line and the headers, as API Gateway counts them
BODY_LIMIT = 10 * 1024 * 1024  # bytes; what is longer is read, not kept, and refused
HEAD_SECONDS = 30.0  # for a request's head, and between two parts of its body
KEPT_SECONDS = 75.0  # that a connection stays open without a request
_BODIES_LIMIT = 256 * 1024 * 1024  # bytes of all bodies that are not complete
_LINGER_SECONDS = 1.0  # that a client has to read a refusal before its connection is cut
_RESERVED_DESCRIPTORS = 200  # for the functions' processes, the log, PostgreSQL's pipes
_MANY_CONNECTIONS = 20_000  # memory bounds them, too

_logger = logging.getLogger(__name__)
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_NO_BODY = {204, 304}


class Server:
    """All connections of the port: `answer` gets each request, `sockets` takes over handshakes unless `refuse` refuses.

    `answer` calls its second argument once with the response, before or after it returns.
    """

    def __init__(
        self,
        answer: Callable[[Request, Callable[[Response], None]], None],
        sockets: Connections,
        *,
        refuse: Callable[[Request], Response | None] = lambda _request: None,
        head_seconds: float = HEAD_SECONDS,
        kept_seconds: float = KEPT_SECONDS,
    ) -> None:
        self.answer = answer
        self.sockets = sockets
        self.refuse = refuse
        self.connections: dict[HttpConnection, None] = {}  # in the order in which they were idle
        self.loop = asyncio.get_running_loop()  # kept: to ask for it costs a call of the kernel
        self.unfinished = 0  # bytes of bodies that are not complete
        self._head_seconds = head_seconds
        self._kept_seconds = kept_seconds
        self._limit = connection_limit()
        self._date = (0, "")

    def accept(self) -> HttpConnection:
        """Return the protocol of a new connection."""
        return HttpConnection(self)

    def make_room(self, new: HttpConnection) -> None:
        """Close a connection if there are too many: the oldest that never sent a request, else one that is idle, else this.

        So a client that only opens connections closes its own ones, and not those that functions keep.
        """
        if len(self.connections) + len(self.sockets) <= self._limit:
            return
        idle = [each for each in self.connections if not each.is_busy and each is not new]
        unused = (each for each in idle if not each.was_used)
        next(unused, idle[0] if idle else new).cut()

    def close_late(self) -> None:
        """Close the connections whose request does not arrive, and those that are idle for too long."""
        now = time.monotonic()
        for each in list(self.connections):
            if not each.is_busy and now - each.since > (self._head_seconds if each.awaits_data else self._kept_seconds):
                each.cut()

    def date_header(self) -> str:
        """Return the header with the present time."""
        now = int(time.time())
        if now != self._date[0]:
            self._date = now, f"date: {formatdate(now, usegmt=True)}\r\n"
        return self._date[1]

    async def close(self, *, patience: float) -> None:
        """Give requests under way `patience` seconds, then cut all connections."""
        deadline = time.monotonic() + patience
        while any(each.is_busy for each in self.connections) and time.monotonic() < deadline:  # noqa: ASYNC110 -- at the end only
            await asyncio.sleep(0.005)
        for each in list(self.connections):
            each.close()
        await asyncio.sleep(0)
        for each in list(self.connections):
            each.cut()


def connection_limit() -> int:
    """Raise the limit of open files as far as allowed, and return how many connections it leaves room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, 10_240):  # macOS allows less than its hard limit says
        with contextlib.suppress(OSError, ValueError):
            if wanted == hard or soft < wanted:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            break
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MANY_CONNECTIONS
    return max(16, min(_MANY_CONNECTIONS, soft - _RESERVED_DESCRIPTORS))


class HttpConnection(asyncio.Protocol):
    """One connection of a client: its requests, one after another, or a WebSocket handshake."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser: Any = httptools.HttpRequestParser(self)
        self._requests: deque[Request] = deque()  # complete, and not answered
        self._head_size = 0  # bytes that came since the head began
        self._in_head = True
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._body_size = 0
        self._kept_size = 0  # bytes in `_body`
        self._is_stuck = False  # the client does not read its answers
        self._keeps_alive = True
        self._refused: HTTPStatus | None = None
        self._ends = False
        self._transport: asyncio.Transport
        self._client = ""
        self._port = 0
        self.awaits_data = True  # a part of a request, or the first one
        self.is_busy = False  # with a request that is complete
        self.was_used = False
        self.since = time.monotonic()

    # ── What the transport tells ──────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the server's connections."""
        self._transport = cast("asyncio.Transport", transport)
        self._client = (transport.get_extra_info("peername") or ("127.0.0.1",))[0]  # None: it has gone already
        self._port = (transport.get_extra_info("sockname") or ("", 0))[1]
        self._server.connections[self] = None
        self._server.make_room(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the server's connections; functions that were invoked run on."""
        del exc
        self._server.connections.pop(self, None)
        self._server.unfinished -= self._kept_size
        self._requests.clear()

    def pause_writing(self) -> None:
        """Take no more requests from a client that does not read its answers."""
        self._is_stuck = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Take requests again."""
        self._is_stuck = False
        self._read_on()

    def eof_received(self) -> bool:
        """Keep a half-closed connection until its requests are answered."""
        self._keeps_alive = False
        return self.is_busy

    def data_received(self, data: bytes) -> None:
        """Parse a part of a request."""
        if self._ends:
            return
        if not self.awaits_data:
            self.awaits_data = True
            self.since = time.monotonic()
        self._head_size += len(data) if self._in_head else 0
        early: bytes | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            early = data[upgrade.args[0] :]
        except httptools.HttpParserError:
            self._refused = self._refused or HTTPStatus.BAD_REQUEST
        if self._in_head and self._head_size > HEAD_LIMIT:
            self._refused = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        if self._requests and self.is_busy:
            self._transport.pause_reading()
        elif self._requests:
            self._answer()
        if early is not None:
            self._upgrade(early)
        elif self._refused is not None and not self.is_busy:
            self._refuse(self._refused)

    # ── What the parser tells ─────────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url = b""
        self._headers = []
        self._body = []
        self._body_size = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the request line."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; nobody reads what follows a body."""
        if self._in_head:
            self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))
        else:
            self._refused = HTTPStatus.BAD_REQUEST

    def on_headers_complete(self) -> None:
        """Check the head's size, and ask for the body if the client waits for that."""
        self._in_head = False
        self._head_size = 0
        if len(self._url) + sum([len(name) + len(value) for name, value in self._headers]) > HEAD_LIMIT:
            self._refused = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        elif ("expect", "100-continue") in self._headers and not (self.is_busy or self._requests):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a part of the body; what is beyond the limit is not kept, and the request is refused."""
        self.since = time.monotonic()
        self._body_size += len(body)
        if self._body_size <= BODY_LIMIT:
            self._body.append(body)
            self._kept_size += len(body)
            self._server.unfinished += len(body)
            if self._server.unfinished > _BODIES_LIMIT:
                self.cut()

    def on_message_complete(self) -> None:
        """Keep the request; it is answered after those before it."""
        self._in_head = True
        self._server.unfinished -= self._kept_size
        self._kept_size = 0
        if self._refused is not None or self._ends or self._is_handshake():
            return
        self._keeps_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        self._requests.append(self._request())

    def _request(self, *, is_handshake: bool = False) -> Request:
        path, raw_path, query = _parsed_url(self._url)
        body, self._body = b"".join(self._body), []
        return Request(
            method=self._parser.get_method().decode(),
            path=path,
            raw_path=raw_path,
            query=query,
            version=self._parser.get_http_version(),
            headers=self._headers,
            fields=joined(self._headers),
            body=body,
            body_size=self._body_size,
            client=self._client,
            port=self._port,
            is_handshake=is_handshake,
        )

    # ── Answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _answer(self) -> None:
        """Have the first of the requests answered."""
        request = self._requests.popleft()
        self.is_busy = self.was_used = True
        try:
            self._server.answer(request, lambda response: self._respond(response, with_body=request.method != "HEAD"))
        except Exception:
            _logger.exception("An answer failed")
            self._respond(refusal(500, "Internal Server Error"))

    def _respond(self, response: Response, *, with_body: bool = True) -> None:
        self._write(response, with_body=with_body)
        if self._requests:
            self._server.loop.call_soon(self._go_on)  # not at once: there may be thousands
            return
        self._become_idle()
        if self._refused is not None:
            self._refuse(self._refused)
        elif not self._keeps_alive:
            self._transport.close()

    def _go_on(self) -> None:
        """Answer the next request; read again after the last one."""
        if self._requests:  # else the connection is lost
            self._answer()
        self._read_on()

    def _read_on(self) -> None:
        if not self._is_stuck and not self._requests and not self._transport.is_closing():
            self._transport.resume_reading()

    def _become_idle(self) -> None:
        self.is_busy = self.awaits_data = False
        self.since = time.monotonic()
        connections = self._server.connections
        if connections.pop(self, self) is None:
            connections[self] = None  # the last one to be closed

    def _write(self, response: Response, *, with_body: bool = True) -> None:
        """Write head and body in one piece: apart, the body would wait for the client's delayed acknowledgement."""
        if self._transport.is_closing():
            return
        status, has_body = response.status, response.status not in _NO_BODY
        head = [_STATUS.get(status) or f"HTTP/1.1 {status} \r\n", self._server.date_header()]
        head += [f"{name}: {value}\r\n" for name, value in response.headers]
        if has_body:
            head.append(f"content-length: {len(response.body)}\r\n")
        if not self._requests:
            last = not self._keeps_alive or self._refused is not None
            if last:
                head.append("connection: close\r\n")
            elif self._parser.get_http_version() == "1.0":
                head.append("connection: keep-alive\r\n")
        head.append("\r\n")
        self._transport.write("".join(head).encode("latin-1") + (response.body if with_body and has_body else b""))

    def _refuse(self, status: HTTPStatus) -> None:
        """Refuse a request that cannot be read, and close the connection once the client could read that."""
        if self._ends:
            return
        self._keeps_alive = False
        self._write(refusal(status, status.phrase))
        self._end()

    def _end(self) -> None:
        """Close, and read what comes meanwhile: unread data would make the kernel drop the answer."""
        self._ends, self.is_busy = True, False
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
        self._server.loop.call_later(_LINGER_SECONDS, self.cut)

    def close(self) -> None:
        """Close once everything is written."""
        self._transport.close()

    def cut(self) -> None:
        """Close at once."""
        self._transport.abort()

    # ── Handshakes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _is_handshake(self) -> bool:
        return bool(self._parser.should_upgrade()) and any(
            name == "upgrade" and value.lower() == "websocket" for name, value in self._headers
        )

    def _upgrade(self, early: bytes) -> None:
        """Hand a WebSocket handshake over; `early` is what the client sent behind it."""
        if self._ends:
            return
        if self._refused is not None:
            self._refuse(self._refused)
        elif self.is_busy:
            self._refused = HTTPStatus.BAD_REQUEST  # a handshake must not follow a request that is still being answered
        elif self._is_handshake():
            try:
                request = self._request(is_handshake=True)
            except httptools.HttpParserError:
                self._refuse(HTTPStatus.BAD_REQUEST)
                return
            self.is_busy = True
            refused = self._server.refuse(request)
            if refused is not None:
                self.refuse_handshake(refused)
                return
            self._server.sockets.open(request, self, self._transport, early)

    def take_over(self) -> None:
        """Leave the connection to its WebSocket."""
        self._server.connections.pop(self, None)

    def refuse_handshake(self, response: Response) -> None:
        """Answer a handshake with an HTTP response, and close."""
        self._keeps_alive = False
        self._write(response)
        self._end()


@lru_cache(maxsize=4096)  # the same ones come again and again
def _parsed_url(url: bytes) -> tuple[str, str, str]:
    """Return the decoded path, the path as it was sent, and the query; raises HttpParserError."""
    parsed = httptools.parse_url(url)
    # A base URL may end with a slash: repeated ones count as one.
    raw_path = "/" + (parsed.path or b"").decode("ascii").lstrip("/")
    return unquote(raw_path), raw_path, (parsed.query or b"").decode(errors="replace")
