"""The @connections API: post to a connection, ask whether it is there, close it."""

import contextlib
from enum import StrEnum
from functools import cache, lru_cache
from http import HTTPStatus
from typing import Protocol
from urllib.parse import quote

from dispatcher.platform import settings
from dispatcher.platform.signed_http import NoAnswerError, NotSentError, SignedHttp

CONNECT_SECONDS = 2
READ_SECONDS = 5
HURRIED_SECONDS = 1
"""The timeouts where a caller waits for something else, as for a 202: one that does not answer in time is left to the sweep."""


class Posted(StrEnum):
    """The outcome of a post."""

    TAKEN = "taken"
    """Accepted by the gateway; not proof of receipt by the agent."""
    GONE = "gone"
    """There is no such connection (410)."""
    TOO_LARGE = "too_large"
    """This message is too large, now and later (413)."""
    REFUSED = "refused"
    """Not accepted now (429, 5xx, 403, gateway not reached); the connection may still live."""
    UNKNOWN = "unknown"
    """No answer came; the message may have arrived."""


class Gateway(Protocol):
    """What delivery needs from the gateway."""

    def post(self, connection_id: str, frame: str) -> Posted:
        """Post one frame."""
        ...

    def is_live(self, connection_id: str) -> bool:
        """Tell whether the connection accepts posts."""
        ...

    def close(self, connection_id: str) -> None:
        """Close the connection if it exists."""
        ...


class ApiGateway:
    """The gateway at `CONNECTIONS_URL`: API Gateway, or a local server that answers like it."""

    def __init__(self, url: str, *, hurried: bool = False) -> None:
        self._http = _client(url, hurried)

    @classmethod
    def from_environment(cls, *, hurried: bool = False) -> "ApiGateway":
        """Take the URL from the function's environment; `hurried` waits for answers for HURRIED_SECONDS only."""
        return cls(settings.connections_url(), hurried=hurried)

    def post(self, connection_id: str, frame: str) -> Posted:
        """Post one frame.  Timeouts are short, so that a missing network route does not hang; delivery retries by itself."""
        try:
            answer = self._http.request("POST", _path(connection_id), frame.encode())
        except NotSentError:
            return Posted.REFUSED
        except NoAnswerError:
            return Posted.UNKNOWN
        if answer.status == HTTPStatus.OK:
            return Posted.TAKEN
        # A gateway that times out may have passed the message on.
        return _POSTED.get(answer.status, Posted.REFUSED)

    def is_live(self, connection_id: str) -> bool:
        """Tell whether the connection accepts posts; False in doubt."""
        try:
            return self._http.request("GET", _path(connection_id)).status == HTTPStatus.OK
        except (NotSentError, NoAnswerError):
            return False

    def obstacle(self) -> str | None:
        """Tell why this API cannot be used; None: it can.  It asks for a connection that does not exist."""
        try:
            status = self._http.request("GET", _path(_NO_CONNECTION)).status
        except (NotSentError, NoAnswerError) as error:
            return f"no answer ({error})"
        return None if status in _SAYS_THERE_IS_NONE else f"HTTP {status}"

    def close(self, connection_id: str) -> None:
        """Close the connection if it exists; best effort: the gateway closes each connection after 2 h at the latest."""
        with contextlib.suppress(NotSentError, NoAnswerError):
            self._http.request("DELETE", _path(connection_id))


_NO_CONNECTION = "AAAAAAAAAAAAAAA="
"""An id like API Gateway's, of no connection."""
_SAYS_THERE_IS_NONE = (HTTPStatus.GONE, HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST)
_POSTED: dict[int, Posted] = {
    HTTPStatus.GONE: Posted.GONE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Posted.TOO_LARGE,
    HTTPStatus.GATEWAY_TIMEOUT: Posted.UNKNOWN,
}


@lru_cache(maxsize=1024)
def _path(connection_id: str) -> str:
    return f"/@connections/{quote(connection_id, safe='')}"


@cache
def _client(url: str, hurried: bool) -> SignedHttp:  # noqa: FBT001 - a part of the cache's key
    connect_seconds, read_seconds = (HURRIED_SECONDS, HURRIED_SECONDS) if hurried else (CONNECT_SECONDS, READ_SECONDS)
    return SignedHttp(url, "execute-api", connect_seconds=connect_seconds, read_seconds=read_seconds)
