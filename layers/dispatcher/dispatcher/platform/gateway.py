"""The @connections API: post to a connection, ask whether it is there, close it."""

from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError

from dispatcher.platform import settings

if TYPE_CHECKING:
    from types_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

CONNECT_SECONDS = 2
READ_SECONDS = 5


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

    def __init__(self, url: str) -> None:
        self._client = _client(url)

    @classmethod
    def from_environment(cls) -> "ApiGateway":
        """Take the URL from the function's environment."""
        return cls(settings.connections_url())

    def post(self, connection_id: str, frame: str) -> Posted:
        """Post one frame.  Timeouts are short, so that a missing network route does not hang; delivery retries by itself."""
        try:
            self._client.post_to_connection(ConnectionId=connection_id, Data=frame.encode())
        except ClientError as error:
            return _POSTED.get(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0), Posted.REFUSED)
        except (ConnectTimeoutError, EndpointConnectionError):
            return Posted.REFUSED
        except BotoCoreError:
            return Posted.UNKNOWN
        return Posted.TAKEN

    def is_live(self, connection_id: str) -> bool:
        """Tell whether the connection accepts posts; False in doubt."""
        try:
            self._client.get_connection(ConnectionId=connection_id)
        except (ClientError, BotoCoreError):
            return False
        return True

    def close(self, connection_id: str) -> None:
        """Close the connection if it exists; best effort: the gateway closes each connection after 2 h at the latest."""
        try:
            self._client.delete_connection(ConnectionId=connection_id)
        except (ClientError, BotoCoreError):
            return


_POSTED = {410: Posted.GONE, 413: Posted.TOO_LARGE}


@cache
def _client(url: str) -> "ApiGatewayManagementApiClient":
    # Building a client takes 100 ms, and it keeps its connection alive: one for each environment.
    return boto3.client(
        "apigatewaymanagementapi",
        endpoint_url=url,
        config=Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": 1},
            tcp_keepalive=True,
        ),
    )
