"""The @connections API: posting to a socket, asking whether it is there, closing it."""

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
    """What became of a post."""

    TAKEN = "taken"
    """The gateway has it.  Not: the agent has it."""
    GONE = "gone"
    """There is no such connection (410)."""
    TOO_LARGE = "too_large"
    """This message never fits (413)."""
    REFUSED = "refused"
    """Not now (429, 5xx, 403, no connection to the gateway): the message was not taken, the connection is not dead."""
    UNKNOWN = "unknown"
    """The answer did not come; the message may have arrived."""


class Gateway(Protocol):
    """What delivery needs of the gateway."""

    def post(self, connection_id: str, frame: str) -> Posted:
        """Post one frame."""
        ...

    def is_live(self, connection_id: str) -> bool:
        """Tell whether the connection can be posted to."""
        ...

    def close(self, connection_id: str) -> None:
        """Close the connection, if it is there."""
        ...


class ApiGateway:
    """The real one, or whatever answers at `CONNECTIONS_URL` like it."""

    def __init__(self, url: str) -> None:
        self._client = _client(url)

    @classmethod
    def from_environment(cls) -> "ApiGateway":
        """Take the URL from the function's environment."""
        return cls(settings.connections_url())

    def post(self, connection_id: str, frame: str) -> Posted:
        """Post one frame; short timeouts, because without a route the call would hang, and no retry: that is our own."""
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
        """Tell whether the connection can be posted to; in doubt it cannot."""
        try:
            self._client.get_connection(ConnectionId=connection_id)
        except (ClientError, BotoCoreError):
            return False
        return True

    def close(self, connection_id: str) -> None:
        """Close the connection, if it is there; best effort, a socket that stays is cut after 2 h at the latest."""
        try:
            self._client.delete_connection(ConnectionId=connection_id)
        except (ClientError, BotoCoreError):
            return


_POSTED = {410: Posted.GONE, 413: Posted.TOO_LARGE}


@cache
def _client(url: str) -> "ApiGatewayManagementApiClient":
    # A client costs 100 ms to build and keeps its connection alive: one an environment.
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
