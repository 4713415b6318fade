"""One kept connection to an HTTP/1.1 server: at a third of the cost of http.client, which parses headers as those of mail."""

import select
import socket
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult

import httptools

_BUFFER = 65536


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its status and body."""

    status: int
    body: bytes


class NoAnswerError(Exception):
    """The request was sent, or a part of it, and no answer came: it may have arrived."""


class HttpConnection:
    """A connection for one request at a time."""

    def __init__(self, url: SplitResult, *, connect_seconds: float, read_seconds: float) -> None:
        """Connect; raises OSError."""
        port = url.port or (443 if url.scheme == "https" else 80)
        self._socket = socket.create_connection((url.hostname or "", port), connect_seconds)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if url.scheme == "https":
                context = ssl.create_default_context()
                self._socket = context.wrap_socket(self._socket, server_hostname=url.hostname)
        except OSError:
            self._socket.close()
            raise
        self._socket.settimeout(read_seconds)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN | select.POLLERR | select.POLLHUP)
        self._is_open = True

    def is_ended(self) -> bool:
        """Tell whether it cannot be used again; if the other side has closed it, there is something to read."""
        return not self._is_open or bool(self._poll.poll(0))

    def close(self) -> None:
        """Disconnect."""
        self._is_open = False
        self._socket.close()

    def exchange(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Send a request and return its answer; raises NoAnswerError.

        The connection is closed where there is no answer, or one that is the last.
        """
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
        reader = _Reader()
        try:
            self._socket.sendall(head.encode() + body)
            while reader.answer is None:
                reader.take(self._socket.recv(_BUFFER))
        except (OSError, httptools.HttpParserError) as error:
            raise NoAnswerError(type(error).__name__) from error
        finally:
            if not reader.keeps_open:
                self.close()
        return reader.answer


class _Reader:
    """Reads one answer; `httptools` calls the methods whose names begin with `on_`."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.keeps_open = False
        self._parser: Any = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []

    def take(self, data: bytes) -> None:
        """Read a part of the answer; raises ConnectionError at the end of the connection."""
        if not data:
            raise ConnectionResetError
        self._parser.feed_data(data)

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        self.answer = Answer(self._parser.get_status_code(), b"".join(self._parts))
        self.keeps_open = self._parser.should_keep_alive()
