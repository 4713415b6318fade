"""Calls of AWS that are hot, with botocore's credentials, over a connection that is kept.

boto3's client costs 1.6 ms of processor time for the same call, this a tenth.  It does not retry: its callers decide what a
failure means.
"""

import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import botocore.session
from botocore.exceptions import BotoCoreError

from dispatcher.platform.aws_signature import signed
from dispatcher.platform.http_connection import Answer, HttpConnection, NoAnswerError

__all__ = ["Answer", "NoAnswerError", "NotSentError", "SignedHttp"]


class NotSentError(Exception):
    """There was no connection, or no credentials: the request surely did not arrive."""


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
        self._kept: HttpConnection | None = None

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
            now=time.time(),
        )
        return self._connection().exchange(method, path, sent, body)

    def _connection(self) -> HttpConnection:
        if self._kept is not None and self._kept.is_ended():
            self._kept.close()
            self._kept = None
        if self._kept is None:
            try:
                self._kept = HttpConnection(
                    self._url, connect_seconds=self._connect_seconds, read_seconds=self._read_seconds
                )
            except OSError as error:
                raise NotSentError(type(error).__name__) from error
        return self._kept
