"""Calls of AWS that are hot, with botocore's credentials, over a connection that is kept.

boto3's client costs 1.6 ms of processor time for the same call, this a tenth.  It does not retry: its callers decide what a
failure means.
"""

import http.client
import select
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import botocore.session
from botocore.exceptions import BotoCoreError

from dispatcher.platform.aws_signature import signed


class NotSentError(Exception):
    """There was no connection, or no credentials: the request surely did not arrive."""


class NoAnswerError(Exception):
    """The request was sent, or a part of it, and no answer came: it may have arrived."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its status and body."""

    status: int
    body: bytes


class SignedHttp:
    """Sends requests of one AWS service to one address, one at a time."""

    def __init__(self, url: str, service: str, *, connect_seconds: float, read_seconds: float) -> None:
        session = botocore.session.get_session()
        self._session = session
        self._service = service
        self._region: str = session.get_config_variable("region") or "us-east-1"
        self._url = urlsplit(url.rstrip("/"))
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._kept: http.client.HTTPConnection | None = None

    def request(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request and return its answer; raises NotSentError and NoAnswerError.

        `path` is what follows the address, percent-encoded.
        """
        try:
            credentials = self._session.get_credentials()
        except BotoCoreError as error:
            raise NotSentError(type(error).__name__) from error
        if credentials is None:
            raise NotSentError("no credentials")
        path = self._url.path + path
        sent = signed(
            credentials.get_frozen_credentials(),
            service=self._service,
            region=self._region,
            method=method,
            path=path,
            headers={"Host": self._url.netloc, **(headers or {})},
            body=body,
            now=datetime.now(UTC),
        )
        connection = self._connection()
        try:
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            self._close()
            raise NoAnswerError(type(error).__name__) from error

    def _connection(self) -> http.client.HTTPConnection:
        if self._kept is not None and _is_ended(self._kept):
            self._close()
        if self._kept is None:
            self._kept = self._connect()
        return self._kept

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            context = ssl.create_default_context()
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=self._connect_seconds, context=context
            )
        else:
            made = http.client.HTTPConnection(host, port, timeout=self._connect_seconds)
        try:
            made.connect()
        except OSError as error:
            made.close()
            raise NotSentError(type(error).__name__) from error
        made.sock.settimeout(self._read_seconds)
        return made

    def _close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None


def _is_ended(connection: http.client.HTTPConnection) -> bool:
    """Tell whether the other side has closed an idle connection: then there is something to read."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN | select.POLLERR | select.POLLHUP)
    return bool(poll.poll(0))
