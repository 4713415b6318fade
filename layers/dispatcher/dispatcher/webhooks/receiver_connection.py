"""A connection to a webhook's receiver: to an address that was checked, with a valid certificate, within a time."""

import contextlib
import http.client
import math
import socket
import ssl
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

from dispatcher.webhooks.addresses import Target, is_public

CONNECT_SECONDS = 5.0
"""For finding the addresses, and for the TLS handshake; each try to connect has a part of it."""
ADDRESSES_MOST = 3
"""Addresses of one name that are tried."""
ANSWER_BYTES = 64 * 1024
"""The most that is read of an answer; nobody looks at it."""
ENDED = (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""Errors of a connection that the receiver has closed."""


class RefusedAddress(OSError):
    """The name leads to an address that is not public."""


class Network(Protocol):
    """Where this process ends."""

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a name; raises OSError."""
        ...

    def connect(self, address: str, port: int, seconds: float) -> socket.socket:
        """Connect to an address; raises OSError."""
        ...


class Internet:
    """The network of this machine."""

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a name; a resolver that does not answer is left alone after CONNECT_SECONDS."""
        found: list[str] = []
        errors: list[OSError] = []

        def look_up() -> None:
            try:
                found.extend(str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except OSError as error:
                errors.append(error)

        thread = threading.Thread(target=look_up, daemon=True)  # getaddrinfo has no timeout of its own
        thread.start()
        thread.join(CONNECT_SECONDS)
        if errors:
            raise errors[0]
        if thread.is_alive():
            raise TimeoutError
        return list(dict.fromkeys(found))

    def connect(self, address: str, port: int, seconds: float) -> socket.socket:
        """Connect to an address."""
        return socket.create_connection((address, port), timeout=seconds)


class ReceiverConnection(http.client.HTTPConnection):
    """A connection to a receiver; each connect resolves the name anew, and checks where it leads.

    http.client connects again by itself when a receiver has closed a connection.  It calls `connect`, so that is checked too.
    It knows no redirects and no proxies.
    """

    def __init__(self, target: Target, network: Network, *, private: bool, context: ssl.SSLContext | None) -> None:
        super().__init__(target.host, target.port)
        self.default_port = 443 if target.scheme == "https" else 80  # the header Host leaves out this port
        self.is_cut = False
        """Whether the time was up."""
        self._target = target
        self._network = network
        self._private = private
        self._context = context
        self._end = math.inf

    def connect(self) -> None:
        """Connect to a public address of the name, and to no other; raises OSError."""
        addresses = self._network.resolve(self._target.host, self._target.port)
        self._require_allowed(addresses)
        # To the address that was checked: the name may lead elsewhere by now.
        opened = self._first_of(addresses[:ADDRESSES_MOST])
        try:
            self._require_allowed([str(opened.getpeername()[0])])
            # Headers and body are two writes: otherwise the second one waits 40 ms for the receiver's ack of the first.
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._target.scheme == "https":
                opened.settimeout(min(CONNECT_SECONDS, self._seconds_left()))
                opened = (self._context or _verifying()).wrap_socket(opened, server_hostname=self._target.host)
        except BaseException:
            opened.close()
            raise
        self.sock = opened

    def post(self, body: bytes, headers: Mapping[str, str], seconds: float) -> tuple[int, str]:
        """Post a body; return the status, and the value of `Retry-After`; raises OSError and HTTPException."""
        self._end, self.is_cut = time.monotonic() + seconds, False
        reused = self._is_open()
        try:
            return self._post_once(body, headers)
        except ENDED:
            if not reused or self.is_cut:
                raise
        self.close()  # the receiver had closed it while it was idle
        return self._post_once(body, headers)

    def _post_once(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        if not self._is_open():
            self.connect()
        with self._cut_late():
            self.request("POST", self._target.path, body, dict(headers))
            response = self.getresponse()
            if self.is_cut:
                raise TimeoutError  # for http.client, headers also end with the connection
            retry_after = response.getheader("Retry-After", "")
            with contextlib.suppress(OSError, http.client.HTTPException):  # the status counts, and it has come
                response.read(ANSWER_BYTES)
            if not response.isclosed():
                self.close()
        return response.status, retry_after

    @contextlib.contextmanager
    def _cut_late(self) -> Generator[None]:
        """Cut the connection when the time is up: a timeout of the socket begins anew with each byte."""
        self.sock.settimeout(self._seconds_left())
        timer = threading.Timer(self._seconds_left(), self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _cut(self) -> None:
        self.is_cut = True
        opened: Any = self.sock
        with contextlib.suppress(OSError, TypeError):  # it may just have been closed
            socket.socket.shutdown(opened, socket.SHUT_RDWR)

    def _first_of(self, addresses: Sequence[str]) -> socket.socket:
        """Connect to the first address that accepts."""
        seconds = min(CONNECT_SECONDS, self._seconds_left()) / len(addresses)
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return self._network.connect(address, self._target.port, seconds)
        return self._network.connect(addresses[-1], self._target.port, seconds)

    def _require_allowed(self, addresses: Sequence[str]) -> None:
        """Raise RefusedAddress unless all are public: a name with a private address too has no honest use here."""
        if not self._private and not all(map(is_public, addresses)):
            raise RefusedAddress

    def _is_open(self) -> bool:
        opened: Any = self.sock
        return opened is not None

    def _seconds_left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


@cache
def _verifying() -> ssl.SSLContext:
    return ssl.create_default_context()
