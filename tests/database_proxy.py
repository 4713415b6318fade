"""A proxy in front of PostgreSQL that counts what a client and the server say to each other."""

import contextlib
import socket
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

STATEMENTS = frozenset({ord("Q"), ord("E")})
"""The messages of the client that execute something: a simple query, and a statement that was bound."""
STARTUP = 8
"""The shortest first message, which has no type: its length, and the version of the protocol."""
READY = ord("Z")
"""The message of the server at the end of each statement or pipeline, with the state of the transaction."""
IDLE = ord("I")


@dataclass(slots=True)
class Traffic:
    """What was counted since the last `reset`."""

    round_trips: int = 0
    """How often the client waited for an answer."""
    commits: int = 0
    """How many transactions ended."""
    statements: int = 0
    """How many statements the client had executed."""
    _answered: bool = True
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        """Count from zero."""
        with self._lock:
            self.round_trips = self.commits = self.statements = 0
            self._answered = True

    def asked(self) -> None:
        """Note that the client has said something."""
        with self._lock:
            self.round_trips += self._answered
            self._answered = False

    def executed(self) -> None:
        """Note that the client has had a statement executed."""
        with self._lock:
            self.statements += 1

    def answered(self, state: int) -> None:
        """Note that the server is ready for the next statement."""
        with self._lock:
            self._answered = True
            self.commits += state == IDLE


@contextlib.contextmanager
def counted(url: str) -> Generator[tuple[str, Traffic]]:
    """Run a proxy in front of a database; give its URL and what it counts.  Connections are served one at a time."""
    parts = urlsplit(url)
    traffic = Traffic()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(
            target=_serve, args=(listener, parts.hostname or "127.0.0.1", parts.port or 5432, traffic), daemon=True
        )
        serving.start()
        user = f"{parts.username}:{parts.password}@" if parts.password else f"{parts.username}@"
        yield f"postgresql://{user}127.0.0.1:{listener.getsockname()[1]}{parts.path}?sslmode=disable", traffic
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        serving.join(5)


def _serve(listener: socket.socket, host: str, port: int, traffic: Traffic) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client, socket.create_connection((host, port)) as server:
            back = threading.Thread(target=_copy_answers, args=(server, client, traffic), daemon=True)
            back.start()
            _copy_questions(client, server, traffic)
            back.join(5)


def _copy_questions(client: socket.socket, server: socket.socket, traffic: Traffic) -> None:
    pending, has_begun = b"", False
    with contextlib.suppress(OSError):
        while data := client.recv(65536):
            traffic.asked()
            pending += data
            if not has_begun and len(pending) >= STARTUP:
                pending, has_begun = pending[int.from_bytes(pending[:4]) :], True
            if has_begun:
                pending = _each_message(pending, lambda kind, _: traffic.executed() if kind in STATEMENTS else None)
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)


def _copy_answers(server: socket.socket, client: socket.socket, traffic: Traffic) -> None:
    pending = b""
    with contextlib.suppress(OSError):
        while data := server.recv(65536):
            pending = _each_message(
                pending + data, lambda kind, message: traffic.answered(message[5]) if kind == READY else None
            )
            client.sendall(data)


def _each_message(pending: bytes, tell: Callable[[int, bytes], None]) -> bytes:
    """Tell the type and the text of each complete message; return what is left.

    A message is its type, its length with the four bytes of the length itself, and its text.
    """
    while len(pending) >= 5 and len(pending) > (size := int.from_bytes(pending[1:5])):
        tell(pending[0], pending)
        pending = pending[size + 1 :]
    return pending
