"""The demonstration agent's way in: registration, approval, the WebSocket's handshake, and the pauses in between."""

import asyncio
import json
import random
from argparse import Namespace
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus

from examples.reference_agent.vocabulary import MESSAGE_BYTES

TIMEOUT = 10.0
"""Seconds for the registration, and for the handshake, as in the k8s agent."""
PING_SECONDS, PONG_SECONDS = 54.0, 6.0
"""The k8s agent pings every 54 s and gives up 60 s after the last pong."""
CAPACITY = {"maxSessions": 100, "cpu": "64 cores", "memory": "256Gi"}
REFUSALS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


class RefusedError(Exception):
    """The server does not know the key, or does not let the agent in."""


class UnreachableError(Exception):
    """The server did not answer, or not as it should; it may later."""


class Backoff:
    """Seconds until the next attempt: at random up to 1, 2, 4 … `most`, and from 1 again after a good while."""

    def __init__(self, most: float) -> None:
        """Wait `most` seconds at most."""
        self._most = most
        self._attempts = 0

    def after(self, lived: float) -> float:
        """Return the wait after a connection that lived so many seconds, 0 for none."""
        if lived > min(2.0**self._attempts, self._most):
            self._attempts = 0
        bound = min(2.0**self._attempts, self._most)
        self._attempts = min(self._attempts + 1, 30)
        return random.uniform(0, bound)  # noqa: S311 - only so that agents do not all come back at the same moment


class Entrance:
    """Where the agent comes in, as `main` parses it: url, id, key, platform, region, poll."""

    def __init__(self, options: Namespace, query: str, log: Callable[[str], None]) -> None:
        """Ask for the protocol with `query`; tell what happens to `log`."""
        self._options = options
        self._key: str = options.key
        self._query = query
        self._log = log

    async def register(self) -> None:
        """Register, and wait until an operator has approved the agent; RefusedError or UnreachableError."""
        while True:
            answer = await asyncio.to_thread(self._post_registration)
            if answer.get("apiKey"):
                self._key = answer["apiKey"]
            if answer.get("approvalStatus") != "pending":
                self._log(f"registered as {self._options.id}")
                return
            self._log(f"an operator has to approve this agent; asking again in {self._options.poll:.0f} s")
            await asyncio.sleep(self._options.poll)

    async def connect(self) -> ClientConnection:
        """Open a connection; RefusedError or UnreachableError."""
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
            raise (RefusedError if status in REFUSALS else UnreachableError)(f"handshake: {status}") from None
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
        request = Request(  # noqa: S310 - the URL is the operator's own
            f"{self._options.url}/api/v1/agents/register",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "X-Agent-Api-Key": self._key},
        )
        try:
            # No proxy: one meant for the internet would be asked for 127.0.0.1.
            with build_opener(ProxyHandler({})).open(request, timeout=TIMEOUT) as response:
                return cast("dict[str, Any]", json.load(response))
        except HTTPError as error:
            with error:
                text = f"registration: {error.code} {error.read(500).decode(errors='replace').strip()}"
            raise (RefusedError if error.code in REFUSALS else UnreachableError)(text) from None
        except (OSError, ValueError) as error:
            raise UnreachableError(f"registration: {error}") from None
