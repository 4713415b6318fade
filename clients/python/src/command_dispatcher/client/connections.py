"""HTTP connections to one service, one for each thread: with the standard library, which is loaded in a moment."""

import os
import selectors
import ssl
import threading
from base64 import b64encode
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from command_dispatcher.client.core import Answer, Request
from command_dispatcher.client.settings import CONNECT_TIMEOUT, USER_AGENT, authorization

FAILURES = (OSError, HTTPException, ValueError)
"""What `send` raises if there is no answer; a header that HTTP does not allow is a ValueError."""


class Connections:
    """Send one request after another in each thread; a connection is kept for the next one."""

    def __init__(self, url: str, token: str | None, *, timeout: float) -> None:
        self._target = urlsplit(url)
        self._headers = {"user-agent": USER_AGENT, **authorization(token)}
        self._timeout = timeout
        self._proxy = _proxy_of(self._target)
        if self._proxy is not None and self._target.scheme == "http":
            self._headers.update(_proxy_headers(self._proxy))
        self._of_thread = threading.local()
        self._opened: list[HTTPConnection] = []

    def send(self, sent: Request, timeout: float | None) -> Answer:
        """Send a request and read its answer, within so many seconds between two pieces; raises one of FAILURES."""
        connection = self._connection()
        patience = timeout or self._timeout
        try:
            if connection.sock is not None and _has_ended(connection):
                connection.close()
            if connection.sock is None:
                connection.timeout = min(patience, CONNECT_TIMEOUT)
                connection.connect()
            if connection.sock is not None:
                connection.sock.settimeout(patience)
            body = None if sent.body is None else sent.body.encode()
            connection.request(sent.method, self._path(sent), body=body, headers={**self._headers, **sent.headers})
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(status=response.status, headers=headers, body=response.read())
        except BaseException:
            connection.close()  # the rest of an answer must not be taken for the next one
            raise

    def close(self) -> None:
        """Close the connections of all threads."""
        while self._opened:
            self._opened.pop().close()

    def _connection(self) -> HTTPConnection:
        connection: HTTPConnection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._of_thread.connection = self._new()
        if connection not in self._opened:
            self._opened.append(connection)
        return connection

    def _new(self) -> HTTPConnection:
        there = self._proxy or self._target
        host = str(there.hostname)
        if self._target.scheme == "http":
            return HTTPConnection(host, there.port or 80)
        connection = HTTPSConnection(host, there.port or (443 if self._proxy is None else 80), context=_tls())
        if self._proxy is not None:
            connection.set_tunnel(str(self._target.hostname), self._target.port or 443, _proxy_headers(self._proxy))
        return connection

    def _path(self, sent: Request) -> str:
        path = self._target.path + sent.path + (f"?{urlencode(sent.query, quote_via=quote)}" if sent.query else "")
        # A proxy gets the whole URL, but not within a tunnel.
        plain = self._proxy is not None and self._target.scheme == "http"
        return f"http://{self._target.netloc}{path}" if plain else path


def _has_ended(connection: HTTPConnection) -> bool:
    """Tell whether the service has closed a connection that waits: then there is something to read."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection.sock, selectors.EVENT_READ)
        return bool(selector.select(0))


def _tls() -> ssl.SSLContext:
    """Trust what the machine trusts."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile or paths.capath:
        return ssl.create_default_context()
    import httpx2  # noqa: PLC0415 - it knows where else certificates are, and is slow to load

    return httpx2.create_ssl_context()


def _proxy_of(target: SplitResult) -> SplitResult | None:
    """Return the proxy that the environment names for a URL (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY)."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - most machines have no proxy

    proxies = getproxies()
    found = proxies.get(target.scheme) or proxies.get("all")
    if not found or proxy_bypass(target.netloc):
        return None
    return urlsplit(found if "://" in found else f"http://{found}")


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"proxy-authorization": f"Basic {b64encode(pair.encode()).decode()}"}
