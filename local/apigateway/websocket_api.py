"""The WebSocket API: handshakes, messages, closes, and the connections that functions may post to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
from websockets.datastructures import Headers
from websockets.http11 import Request as Handshake

from local.apigateway import events
from local.apigateway.http_messages import OWN_HEADERS, TOKEN, Response, refusal
from local.apigateway.websocket_authorizer import HandshakeRefused, authorize
from local.apigateway.websocket_protocol import WebSocket
from local.lambda_runtime.runtime import WAITED_TOO_LONG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local.apigateway.http_messages import Request
    from local.apigateway.http_server import HttpConnection
    from local.lambda_runtime.runtime import Result, Runtime

_logger = logging.getLogger(__name__)
INTEGRATION_SECONDS = 29.0
_BACKLOG = 16  # messages of one connection that may wait for their function; at this number its socket is not read
_TRIES = 3  # of a message whose process is killed

_SUBPROTOCOL = "sec-websocket-protocol"

# API Gateway's reasons for a close without a reason.
_REASONS = {1000: "Connection Closed Normally", 1001: "Going away", 1005: "Client-side close frame status not set"}


class GoneError(Exception):
    """The connection does not exist: not yet, or no longer."""


class SlowClientError(Exception):
    """The client does not read, and the buffer for it is full."""


class Connection:
    """One open socket: its messages are handled in order, without a task."""

    __slots__ = (
        "_api",
        "_busy",
        "_end",
        "_messages",
        "authorizer",
        "closing",
        "encoded",
        "facts",
        "last_active",
        "opened",
        "socket",
    )

    def __init__(self, api: Connections, facts: events.SocketFacts) -> None:
        self.facts = facts
        self.authorizer: dict[str, str] | None = None
        self.encoded: dict[str, bytes] = {}
        self.opened = self.last_active = time.monotonic()
        self.closing = False
        self.socket = WebSocket(self._received, self.ended)
        self._api = api
        self._messages: deque[str | bytes] = deque()
        self._busy = False
        self._end: tuple[int, str] | None = None

    @property
    def last_active_at(self) -> datetime:
        """The moment when the last message went in or out."""
        return self.facts.connected_at + timedelta(seconds=self.last_active - self.opened)

    def post(self, data: bytes) -> None:
        """Send a frame, as text if it is UTF-8.  Raises GoneError, SlowClientError."""
        if self.closing:
            raise GoneError
        if self.socket.is_stuck:
            raise SlowClientError
        try:
            self.socket.send(data)
        except ConnectionError:  # the client or this gateway has closed it meanwhile
            raise GoneError from None
        self.last_active = time.monotonic()

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake; from now on every call about the connection gets 410."""
        if not self.closing:
            self.closing = True
            self.socket.close(code, reason)

    def ended(self, code: int, reason: str) -> None:
        """Run `$disconnect` after the messages that came before the end."""
        if self._end is None:
            self.closing = True
            self._end = (code, reason)
            self._api.forget(self)
            self._proceed()

    def answered(self, error: bytes | None) -> None:
        """Go on after a message; `error` is what the client is told about it."""
        self._busy = False
        if error is not None and not self.closing and not self.socket.is_stuck:
            with contextlib.suppress(ConnectionError):
                self.socket.send(error)
                self.last_active = time.monotonic()
        if len(self._messages) == _BACKLOG and self._end is None:
            self.socket.resume()
        self._proceed()

    def _received(self, data: str | bytes) -> None:
        self.last_active = time.monotonic()
        self._messages.append(data)
        if not self._busy:
            self._proceed()
        elif len(self._messages) == _BACKLOG:
            self.socket.pause()

    def _proceed(self) -> None:
        if self._busy:
            return
        if self._messages:
            self._busy = True
            self._api.handle_message(self, self._messages.popleft())
        elif self._end is not None:
            self._busy = True
            self._api.disconnect(self, *self._end)


class Connections:
    """All connections of the WebSocket API."""

    def __init__(
        self,
        runtime: Runtime,
        place: events.Place,
        *,
        paths: Sequence[str],
        idle_seconds: float,
        lifetime_seconds: float,
    ) -> None:
        deployment = runtime.deployment
        self._routes = deployment.websocket_routes
        self._named = [name for name in self._routes if not name.startswith("$")]
        self._stage = deployment.websocket_stage
        self._selection = deployment.websocket_selection.removeprefix("$request.body.").split(".")
        self._authorizer = deployment.websocket_authorizer
        self._runtime = runtime
        self._place = place
        self._paths = paths
        self._idle_seconds = idle_seconds
        self._lifetime_seconds = lifetime_seconds
        self._open: dict[str, Connection] = {}
        self._ending = 0  # connections whose `$disconnect` has not run
        self._handshakes: set[asyncio.Task[None]] = set()
        self._shut = False

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    def find(self, connection_id: str) -> Connection:
        """Return an open connection whose `$connect` has succeeded; otherwise raise GoneError."""
        connection = self._open.get(connection_id)
        if connection is None or connection.closing:
            raise GoneError
        return connection

    def is_stuck(self, connection_id: str) -> bool:
        """Tell whether there is such a connection, and its client does not read."""
        connection = self._open.get(connection_id)
        return connection is not None and connection.socket.is_stuck

    async def until_writable(self, connection_id: str, seconds: float) -> None:
        """Wait until the client of a connection reads, but not for longer."""
        connection = self._open.get(connection_id)
        if connection is not None:
            await connection.socket.until_writable(seconds)

    async def close_all(self) -> None:
        """Refuse new sockets, close the open ones as going away, and wait until `$disconnect` has run for each."""
        self._shut = True
        for connection in list(self._open.values()):
            connection.close(1001, "Going away")
        while self._open or self._ending or self._handshakes:  # noqa: ASYNC110 -- at the end only
            await asyncio.sleep(0.01)

    def cut_all(self) -> None:
        """Cut the connections that are still open."""
        for connection in list(self._open.values()):
            connection.socket.cut()

    def close_old(self) -> None:
        """Close the connections that are idle for too long or too old."""
        now = time.monotonic()
        for connection in list(self._open.values()):
            idle, age = now - connection.last_active, now - connection.opened
            if idle > self._idle_seconds or age > self._lifetime_seconds:
                connection.close(1001, "Going away")

    # ── Handshakes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, request: Request, http: HttpConnection, transport: asyncio.Transport, early: bytes) -> None:
        """Answer a handshake; `early` is what the client sent behind it."""
        if request.path not in self._paths:
            http.refuse_handshake(refusal(403, "Forbidden"))
            return
        transport.pause_reading()
        task = asyncio.get_running_loop().create_task(self._answer_handshake(request, http, transport, early))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _answer_handshake(
        self, request: Request, http: HttpConnection, transport: asyncio.Transport, early: bytes
    ) -> None:
        try:
            await self._shake_hands(request, http, transport, early)
        except Exception:
            _logger.exception("A handshake failed")
            http.refuse_handshake(refusal(500, "Internal server error"))

    async def _shake_hands(
        self, request: Request, http: HttpConnection, transport: asyncio.Transport, early: bytes
    ) -> None:
        facts = events.SocketFacts(
            connection_id=events.request_id(),
            connected_at=datetime.now(UTC),
            source_ip=request.client,
            user_agent=request.header("user-agent"),
            stage=self._stage,
            place=self._place,
        )
        connection = Connection(self, facts)
        response = connection.socket.response_to(Handshake(request.path, Headers(request.headers)))
        if response.status_code != 101:  # noqa: PLR2004 -- HTTP's
            headers = [each for each in response.headers.raw_items() if each[0].lower() not in OWN_HEADERS]
            http.refuse_handshake(Response(status=response.status_code, headers=headers, body=bytes(response.body)))
            return
        try:
            connection.authorizer, subprotocol = await self._admit(request, facts)
        except HandshakeRefused as refused:
            ids = {"connectionId": facts.connection_id, "requestId": events.request_id()}
            http.refuse_handshake(refusal(refused.status, refused.message, **ids))
            return
        self._open[facts.connection_id] = connection
        self._ending += 1
        http.take_over()
        if transport.is_closing():
            connection.ended(1006, "")
            return
        connection.socket.start(transport, response, subprotocol, early)
        transport.resume_reading()

    async def _admit(self, request: Request, facts: events.SocketFacts) -> tuple[dict[str, str] | None, str | None]:
        """Run authorizer and `$connect`; return the authorizer's context and the subprotocol, or raise HandshakeRefused."""
        if self._shut:
            raise HandshakeRefused(500, "Internal server error")
        context = events.socket_context(facts, "CONNECT", "$connect", None)
        event = events.connect_event(request, context)
        authorizer: dict[str, str] | None = None
        if self._authorizer is not None:
            arn = (
                f"arn:aws:execute-api:{self._place.region}:{self._place.account}:{events.API_ID}/{self._stage}/$connect"
            )
            authorizer = await authorize(self._authorizer, self._runtime, event, arn)
            event["requestContext"]["authorizer"] = authorizer
        if "$connect" not in self._routes:
            return authorizer, None
        result = await self._runtime.invoke(self._routes["$connect"], event, patience=INTEGRATION_SECONDS)
        if result is WAITED_TOO_LONG:
            raise HandshakeRefused(504, "Endpoint request timed out")
        answer = _response(result)
        if answer is None:
            raise HandshakeRefused(502, "Internal server error")
        status: int = answer["statusCode"]
        if not 200 <= status < 300:  # noqa: PLR2004 -- HTTP's
            raise HandshakeRefused(status, str(answer.get("body") or "Forbidden"))
        headers: dict[str, object] = answer.get("headers") or {}
        chosen = str(next((value for name, value in headers.items() if name.lower() == _SUBPROTOCOL), ""))
        return authorizer, chosen if TOKEN.fullmatch(chosen) else None

    # ── Messages and the end ──────────────────────────────────────────────────────────────────────────────────────────

    def handle_message(self, connection: Connection, data: str | bytes) -> None:
        """Run the route of a message; the connection gets `answered` after that."""
        route = self._route_of(data)
        request_id = events.request_id()
        if route is None:
            connection.answered(_error(connection, request_id, "Forbidden"))
            return
        beginning = connection.encoded.get(route)
        if beginning is None:
            beginning = events.message_beginning(connection.facts, route, connection.authorizer)
            connection.encoded[route] = beginning

        self._handle(connection, route, events.encoded_message(beginning, data, request_id), request_id, 1)

    def _handle(self, connection: Connection, route: str, event: bytes, request_id: str, number: int) -> None:
        """Hand a message to its function; hand it over again if the process was killed.

        API Gateway does not: it loses what an agent reported then.  A message may be handled twice at any rate.
        """

        def done(result: Result) -> None:
            if result.died and number < _TRIES:
                self._handle(connection, route, event, request_id, number + 1)
                return
            message = "Endpoint request timed out" if result is WAITED_TOO_LONG else "Internal server error"
            failed = _response(result) is None
            connection.answered(_error(connection, request_id, message) if failed else None)

        self._runtime.start(self._routes[route], event, done, patience=INTEGRATION_SECONDS)

    def _route_of(self, data: str | bytes) -> str | None:
        """Return the route that the selected property of a message names, else `$default` if there is one."""
        default = "$default" if "$default" in self._routes else None
        if isinstance(data, str) and not self._may_name_a_route(data):
            return default
        try:
            value: Any = json.loads(data)
            for name in self._selection:
                value = value[name]
        except (ValueError, LookupError, TypeError, RecursionError):
            return default
        return value if isinstance(value, str) and value in self._named else default

    def _may_name_a_route(self, text: str) -> bool:
        """Tell whether a message contains a route's name, or an escape that may stand for one; only then it is parsed.

        The first character is searched for first: that is ten times as fast.
        """
        if "\\" in text and "\\u" in text:
            return True
        for name in self._named:  # noqa: SIM110 -- a generator costs as much as the search
            if name[0] in text and name in text:
                return True
        return False

    def forget(self, connection: Connection) -> None:
        """Answer every further call about a connection with 410."""
        self._open.pop(connection.facts.connection_id, None)

    def disconnect(self, connection: Connection, code: int, reason: str) -> None:
        """Run `$disconnect` of a connection that has ended."""

        def done(_result: Result | None) -> None:
            self._ending -= 1

        if "$disconnect" not in self._routes:
            done(None)
            return
        context = events.socket_context(
            *(connection.facts, "DISCONNECT", "$disconnect", connection.authorizer),
            disconnectStatusCode=code,
            disconnectReason=reason or _REASONS.get(code, ""),
        )
        event = orjson.dumps(events.disconnect_event(self._place, context))
        self._runtime.start(self._routes["$disconnect"], event, done, patience=INTEGRATION_SECONDS)


def _error(connection: Connection, request_id: str, message: str) -> bytes:
    ids = {"connectionId": connection.facts.connection_id, "requestId": request_id}
    return orjson.dumps({"message": message, **ids})


def _response(result: Result) -> dict[str, Any] | None:
    """Return a function's answer if it is one that a WebSocket integration accepts: an object with a statusCode."""
    answer = result.object()
    return answer if answer is not None and isinstance(answer.get("statusCode"), int) else None
