"""A kept HTTP connection: which answers it reads, and when it cannot be used again."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from dispatcher.platform.http_connection import Answer, HttpConnection, NoAnswerError

REQUEST = b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"


@dataclass(frozen=True, slots=True)
class Ends:
    """A connection, and the server's end of it."""

    connection: HttpConnection
    server: socket.socket

    def exchange(self, *parts: bytes, then_end: bool = False) -> Answer:
        """Return what the connection reads if the server answers with these parts, one after another."""
        with ThreadPoolExecutor() as threads:
            answer = threads.submit(self.connection.exchange, "POST", "/p", {"Host": "h"}, b"body")
            assert self.server.recv(1024) == REQUEST
            for part in parts:
                self.server.sendall(part)
            if then_end:
                self.server.close()
            return answer.result()


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends of a connection that has just been opened."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = urlsplit(f"http://127.0.0.1:{listener.getsockname()[1]}")
        connection = HttpConnection(url, connect_seconds=1, read_seconds=0.3)
        server, _ = listener.accept()
    with server:
        yield Ends(connection, server)
    connection.close()


@pytest.mark.parametrize(
    "parts",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",),
        (b"HTTP/1.1 200 O", b"K\r\nContent-Length: 2\r\n\r\no", b"k"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n", b"1\r\nk\r\n0\r\n\r\n"),
    ],
)
def test_after_a_whole_answer_the_connection_is_used_again(ends: Ends, parts: tuple[bytes, ...]) -> None:
    """A new connection for each post would cost more than the post."""
    assert ends.exchange(*parts) == Answer(200, b"ok")
    assert not ends.connection.is_ended()
    assert ends.exchange(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n") == Answer(410, b"")


def test_after_a_last_answer_the_connection_is_not_used_again(ends: Ends) -> None:
    """The server says that it closes the connection; the next request would be lost."""
    answer = ends.exchange(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")

    assert answer == Answer(200, b"ok")
    assert ends.connection.is_ended()


def test_a_connection_that_the_server_has_closed_is_not_used_again(ends: Ends) -> None:
    """Servers close idle connections."""
    ends.server.close()

    assert ends.connection.is_ended()


@pytest.mark.parametrize(
    ("parts", "then_end"),
    [
        ((), True),
        ((), False),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",), True),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",), False),
        ((b"SSH-2.0-OpenSSH\r\n",), False),
    ],
)
def test_half_an_answer_is_none(ends: Ends, parts: tuple[bytes, ...], then_end: bool) -> None:  # noqa: FBT001 - pytest passes parameters by name
    """The message may have arrived; what follows on this connection could be the rest of the answer."""
    with pytest.raises(NoAnswerError):
        ends.exchange(*parts, then_end=then_end)

    assert ends.connection.is_ended()
