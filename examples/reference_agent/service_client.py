"""How the agent reaches the service: registration, WebSocket handshake, and the pauses between attempts."""

import asyncio
import json
import random
from argparse import Namespace
from http import HTTPStatus
from typing import Any, cast
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus

from .wire_format import MESSAGE_BYTES

TIMEOUT = 10.0
"""Seconds for the registration, and for the handshake."""
PING_SECONDS, PONG_SECONDS = 54.0, 6.0
CAPACITY = {"maxSessions": 100, "cpu": "64 cores", "memory": "256Gi"}
_REFUSALS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


class RefusedError(Exception):
    """The service does not accept the agent's key."""


class UnreachableError(Exception):
    """The service did not answer as expected; it may later."""


class Backoff:
    """The pauses between attempts: random, up to 1, 2, 4 … `most` seconds."""

    def __init__(self, most: float) -> None:
        self._most = most
        self._attempts = 0

    def after(self, lived: float) -> float:
        """Return the pause in seconds after a connection that lived this long; 0 for a failed attempt."""
        if lived > min(2.0**self._attempts, self._most):
            self._attempts = 0
        bound = min(2.0**self._attempts, self._most)
        self._attempts = min(self._attempts + 1, 30)
        return random.uniform(0, bound)  # noqa: S311 - only spreads the agents


class ServiceClient:
    """Registers and connects one agent; `query` chooses the protocol in the URL of the WebSocket."""

    def __init__(self, options: Namespace, query: str) -> None:
        self._options = options
        self._key: str = options.key
        self._query = query

    async def register(self) -> bool:
        """Register; return whether the agent is approved.  Raises RefusedError or UnreachableError."""
        answer = await asyncio.to_thread(self._post_registration)
        self._key = answer.get("apiKey") or self._key
        return answer.get("approvalStatus") != "pending"

    async def connect(self) -> ClientConnection:
        """Open a connection.  Raises RefusedError or UnreachableError."""
        url = "ws" + self._options.url.removeprefix("http")
        try:
            return await connect(
                f"{url}/api/v1/agents/connect?agent_id={quote(self._options.id, safe='')}{self._query}",
                additional_headers={"X-Agent-Api-Key": self._key},
                compression=None,
                max_size=MESSAGE_BYTES,
                open_timeout=TIMEOUT,
                close_timeout=2,
                ping_interval=PING_SECONDS,
                ping_timeout=PONG_SECONDS,
                proxy=None,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            raise (RefusedError if status in _REFUSALS else UnreachableError)(f"handshake: {status}") from None
        except (OSError, InvalidHandshake, EOFError) as error:
            raise UnreachableError(f"handshake: {error}") from None

    def _post_registration(self) -> dict[str, Any]:
        body = {
            "agentId": self._options.id,
            "platform": self._options.platform,
            "region": self._options.region,
            "capacity": CAPACITY,
            "metadata": {"kubernetes": True, "namespace": "streamspace"},
        }
        request = Request(  # noqa: S310 - the user of the agent chose the URL
            f"{self._options.url}/api/v1/agents/register",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "X-Agent-Api-Key": self._key},
        )
        try:
            # Without a proxy: one for the internet cannot reach 127.0.0.1.
            with build_opener(ProxyHandler({})).open(request, timeout=TIMEOUT) as response:
                return cast("dict[str, Any]", json.load(response))
        except HTTPError as error:
            with error:
                text = f"registration: {error.code} {error.read(500).decode(errors='replace').strip()}"
            raise (RefusedError if error.code in _REFUSALS else UnreachableError)(text) from None
        except (OSError, ValueError) as error:
            raise UnreachableError(f"registration: {error}") from None
