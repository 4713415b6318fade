"""A small HTTP client on one kept connection, so that the client takes little of the processor."""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import httptools

from bench.figures import BenchError


class _Answers(asyncio.Protocol):
    """Parses one answer at a time; `httptools` calls the methods whose names begin with `on_`."""

    def __init__(self) -> None:
        self.waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(exc or ConnectionResetError("closed without an answer"))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result((self._parser.get_status_code(), bytes(self._body)))
        self._body.clear()


class HttpConnection:
    """One kept connection; one request at a time."""

    def __init__(self, transport: asyncio.Transport, answers: _Answers, head: str) -> None:
        self._transport = transport
        self._answers = answers
        self._head = head

    @classmethod
    async def open(cls, url: str, token: str | None = None) -> "HttpConnection":
        """Connect; raises OSError."""
        place = urlsplit(url)
        loop = asyncio.get_running_loop()
        transport, answers = await loop.create_connection(_Answers, place.hostname or "", place.port or 80)
        head = f"Host: {place.netloc}\r\nContent-Type: application/json\r\n"
        return cls(transport, answers, head + (f"Authorization: Bearer {token}\r\n" if token else ""))

    def close(self) -> None:
        """Disconnect."""
        self._transport.close()

    def start(self, method: str, path: str, body: bytes = b"") -> "asyncio.Future[tuple[int, bytes]]":
        """Send a request; the result is the answer's status and body."""
        waiting: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._answers.waiting = waiting
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        return waiting

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make a request with JSON and return the decoded answer; raises BenchError for a refusal."""
        status, answer = await self.start(method, path, b"" if body is None else json.dumps(body).encode())
        expect_success(status, answer)
        return json.loads(answer)


def expect_success(status: int, answer: bytes) -> None:
    """Raise BenchError unless the status is 2xx."""
    if not 200 <= status < 300:  # noqa: PLR2004 - HTTP's
        raise BenchError(f"the dispatcher answered {status}: {answer[:300].decode(errors='replace')}")
