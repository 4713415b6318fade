"""libpq verifies the server: a test server shows a certificate, and sends one sentence to each client that accepts it."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
import trustme

from dispatcher.platform import rds

ACCEPTED = "whoever reads this has accepted the certificate"


@pytest.fixture
def authority() -> trustme.CA:
    """A new certificate authority, which is not trusted yet."""
    return trustme.CA()


@pytest.fixture
def _known(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Use its root as the shipped one."""
    authority.cert_pem.write_to_path(tmp_path / "root.pem")
    monkeypatch.setattr(rds, "CERTIFICATES", tmp_path / "root.pem")


@contextlib.contextmanager
def server(authority: trustme.CA, name: str) -> Generator[int]:
    """Answer PostgreSQL's request for TLS with a certificate of this name, and then with an error of one sentence."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, context), daemon=True).start()
        yield listener.getsockname()[1]


def _serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    fields = b"SFATAL\0VFATAL\0C28000\0M" + ACCEPTED.encode() + b"\0\0"
    with contextlib.suppress(OSError):  # the listener was closed, or the client refused the certificate
        while True:
            client, _ = listener.accept()
            with contextlib.suppress(OSError), client:
                client.recv(8)
                client.sendall(b"S")
                with context.wrap_socket(client, server_side=True) as secured:
                    secured.recv(1024)
                    secured.sendall(b"E" + struct.pack("!i", 4 + len(fields)) + fields)


def said_to(port: int) -> str:
    """Connect as a function does, by name; return the error."""
    url = rds.url(host="localhost", port=port, user="u", password="p", sslmode="verify-full")
    with pytest.raises(psycopg.OperationalError) as raised, psycopg.connect(url, connect_timeout=30):
        pass
    return str(raised.value)


@pytest.mark.usefixtures("_known")
def test_a_server_with_the_name_and_a_known_root_is_accepted(authority: trustme.CA) -> None:
    """Without this, the refusals below would prove nothing."""
    with server(authority, "localhost") as port:
        assert ACCEPTED in said_to(port)


@pytest.mark.usefixtures("_known")
def test_a_server_with_another_name_is_refused(authority: trustme.CA) -> None:
    """Its certificate is valid, but it is not the server that was asked for."""
    with server(authority, "another") as port:
        assert "does not match host name" in said_to(port)


def test_a_server_without_a_shipped_root_is_refused(authority: trustme.CA) -> None:
    """With the shipped file, which libpq reads completely."""
    with server(authority, "localhost") as port:
        assert "certificate verify failed" in said_to(port)
