"""libpq verifies who answers: a server shows a certificate, and says one sentence to whoever accepts it."""

import contextlib
import datetime as dt
import socket
import ssl
import struct
import threading
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from dispatcher.platform import rds

ACCEPTED = "whoever reads this has accepted the certificate"


class Authority:
    """A certificate authority that only its test knows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority")])
        self.certificate = folder / "authority.pem"
        root = self._certificate(self._name, self._key.public_key(), ca=True)
        self.certificate.write_bytes(root.public_bytes(Encoding.PEM))

    def server_for(self, name: str) -> Path:
        """Return a file with a key and a certificate for a host's name."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certificate(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key(), ca=False
        )
        path = self._folder / f"{name}.pem"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        return path

    def _certificate(self, name: x509.Name, key: ec.EllipticCurvePublicKey, *, ca: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        host = str(name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host.replace(" ", "-"))]), critical=False)
            .sign(self._key, SHA256())
        )


@contextlib.contextmanager
def server(certificate: Path) -> Generator[int]:
    """Answer PostgreSQL's request for TLS with this certificate, and then with an error of one sentence."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, context), daemon=True).start()
        yield listener.getsockname()[1]


def _serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    fields = b"SFATAL\0VFATAL\0C28000\0M" + ACCEPTED.encode() + b"\0\0"
    with contextlib.suppress(OSError):  # the listener's end, and clients that refuse
        while True:
            client, _ = listener.accept()
            with contextlib.suppress(OSError), client:
                client.recv(8)
                client.sendall(b"S")
                with context.wrap_socket(client, server_side=True) as secured:
                    secured.recv(1024)
                    secured.sendall(b"E" + struct.pack("!i", 4 + len(fields)) + fields)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority that nobody trusts yet."""
    return Authority(tmp_path)


def said_to(port: int) -> str:
    """Connect as a function does, by name; return the error."""
    url = rds.url(host="localhost", port=port, user="u", password="p", sslmode="verify-full")
    with pytest.raises(psycopg.OperationalError) as raised, psycopg.connect(url, connect_timeout=30):
        pass
    return str(raised.value)


def test_a_server_with_the_name_and_a_known_root_is_accepted(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this, the refusals below would prove nothing."""
    monkeypatch.setattr(rds, "CERTIFICATES", authority.certificate)
    with server(authority.server_for("localhost")) as port:
        assert ACCEPTED in said_to(port)


def test_a_server_with_another_name_is_refused(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its certificate is valid, but it is not the server that was asked for."""
    monkeypatch.setattr(rds, "CERTIFICATES", authority.certificate)
    with server(authority.server_for("another")) as port:
        assert "does not match host name" in said_to(port)


def test_a_server_that_no_shipped_root_vouches_for_is_refused(authority: Authority) -> None:
    """With the file that is shipped, which libpq reads completely."""
    with server(authority.server_for("localhost")) as port:
        assert "certificate verify failed" in said_to(port)
