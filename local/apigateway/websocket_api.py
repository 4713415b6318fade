"""The WebSocket API: handshakes, messages, closes, and the connections that functions may post to."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import HTTPConnection

from local.apigateway import events
from local.apigateway.incoming import refusal
from local.apigateway.websocket_authorizer import HandshakeRefused, authorize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send

    from local.lambda_runtime.runtime import Result, Runtime

INTEGRATION_SECONDS = 29.0
_BACKLOG = 16  # messages of one connection that may wait for their function; at this number its socket is not read
_PATIENCE = 1.0  # seconds that a post waits for a client that does not read

_SUBPROTOCOL = "sec-websocket-protocol"

# API Gateway's reasons for a close without a reason.
_REASONS = {1000: "Connection Closed Normally", 1001: "Going away", 1005: "Client-side close frame status not set"}


class GoneError(Exception):
    """The connection does not exist: not yet, or no longer."""


class SlowClientError(Exception):
    """The client does not read, and the buffer for it is full."""


class Connection:
    """One open socket."""

    def __init__(self, facts: events.SocketFacts, authorizer: dict[str, str] | None, send: Send) -> None:
        self.facts = facts
        self.authorizer = authorizer
        self.last_active_at = facts.connected_at
        self.closing = False
        self.reading: asyncio.Task[tuple[int, str]] | None = None
        self._send = send

    async def post(self, data: bytes) -> None:
        """Send a frame, as text if it is UTF-8; return when the socket has taken it.  Raises GoneError, SlowClientError."""
        try:
            message: dict[str, Any] = {"type": "websocket.send", "text": data.decode()}
        except UnicodeDecodeError:
            message = {"type": "websocket.send", "bytes": data}
        if self.closing:
            raise GoneError
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._send(message)
        except TimeoutError:
            raise SlowClientError from None
        except (OSError, RuntimeError):  # the client or this gateway has closed it meanwhile
            raise GoneError from None
        self.touch()

    async def close(self, code: int, reason: str) -> None:
        """Start the closing handshake; from now on every call about the connection gets 410."""
        if self.closing:
            return
        self.closing = True
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except TimeoutError:
            if self.reading is not None:
                self.reading.cancel()  # a client that does not read does not see the close frame either
        except (OSError, RuntimeError):
            pass

    def touch(self) -> None:
        """Note that a message went in or out."""
        self.last_active_at = datetime.now(UTC)


class Connections:
    """All open connections of the WebSocket API, and the handling of each."""

    def __init__(
        self,
        runtime: Runtime,
        place: events.Place,
        *,
        idle_seconds: float,
        lifetime_seconds: float,
    ) -> None:
        deployment = runtime.deployment
        self._routes = deployment.websocket_routes
        self._stage = deployment.websocket_stage
        self._selection = deployment.websocket_selection.removeprefix("$request.body.").split(".")
        self._authorizer = deployment.websocket_authorizer
        self._runtime = runtime
        self._place = place
        self._idle_seconds = idle_seconds
        self._lifetime_seconds = lifetime_seconds
        self._open: dict[str, Connection] = {}
        self._handled = 0
        self._shut = False

    def find(self, connection_id: str) -> Connection:
        """Return an open connection whose `$connect` has succeeded; otherwise raise GoneError."""
        connection = self._open.get(connection_id)
        if connection is None or connection.closing:
            raise GoneError
        return connection

    async def close_all(self) -> None:
        """Refuse new sockets, close the open ones as going away, and wait until `$disconnect` has run for each."""
        self._shut = True
        await asyncio.gather(*(connection.close(1001, "Going away") for connection in list(self._open.values())))
        while self._handled:  # noqa: ASYNC110 -- at the end only
            await asyncio.sleep(0.01)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one socket from its handshake to the end of its `$disconnect`."""
        self._handled += 1
        try:
            await self._handle(HTTPConnection(scope), receive, send)
        finally:
            self._handled -= 1

    async def _handle(self, request: HTTPConnection, receive: Receive, send: Send) -> None:
        await receive()  # the handshake
        facts = events.SocketFacts(
            connection_id=events.request_id(),
            connected_at=datetime.now(UTC),
            source_ip=events.source_ip(request),
            user_agent=request.headers.get("user-agent", ""),
            stage=self._stage,
            place=self._place,
        )
        try:
            authorizer, subprotocol = await self._admit(request, facts)
        except HandshakeRefused as refused:
            ids = {"connectionId": facts.connection_id, "requestId": events.request_id()}
            await refusal(refused.status, refused.message, **ids)(request.scope, receive, send)
            return
        connection = Connection(facts, authorizer, send)
        code, reason = 1006, ""
        try:
            await send({"type": "websocket.accept", "subprotocol": subprotocol})
            self._open[facts.connection_id] = connection
            code, reason = await self._serve(connection, receive)
        except OSError:  # the client did not wait for its $connect
            pass
        finally:
            self._open.pop(facts.connection_id, None)
        await self._disconnected(connection, code, reason)

    async def _admit(
        self, request: HTTPConnection, facts: events.SocketFacts
    ) -> tuple[dict[str, str] | None, str | None]:
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
        try:
            answer = _response(await self._integrate("$connect", event))
        except TimeoutError:
            raise HandshakeRefused(504, "Endpoint request timed out") from None
        if answer is None:
            raise HandshakeRefused(502, "Internal server error")
        status: int = answer["statusCode"]
        if not 200 <= status < 300:  # noqa: PLR2004 -- HTTP's
            raise HandshakeRefused(status, str(answer.get("body") or "Forbidden"))
        headers: dict[str, str] = answer.get("headers") or {}
        return authorizer, next((value for name, value in headers.items() if name.lower() == _SUBPROTOCOL), None)

    async def _serve(self, connection: Connection, receive: Receive) -> tuple[int, str]:
        """Dispatch messages, in order, until the socket is closed; return the close code and reason."""
        messages: asyncio.Queue[str | bytes | None] = asyncio.Queue(_BACKLOG)
        dispatching = asyncio.create_task(self._dispatch(connection, messages))
        watching = asyncio.create_task(self._watch(connection))
        connection.reading = asyncio.create_task(_read(connection, receive, messages))
        try:
            await asyncio.wait([connection.reading])
            connection.closing = True
            self._open.pop(connection.facts.connection_id, None)
            await messages.put(None)
            await dispatching
        finally:
            for task in (watching, dispatching, connection.reading):
                task.cancel()
        return (1006, "") if connection.reading.cancelled() else connection.reading.result()

    async def _watch(self, connection: Connection) -> None:
        """Close a connection that is idle for too long or too old."""
        while True:
            now = datetime.now(UTC)
            idle = self._idle_seconds - (now - connection.last_active_at).total_seconds()
            life = self._lifetime_seconds - (now - connection.facts.connected_at).total_seconds()
            if min(idle, life) <= 0:
                await connection.close(1001, "Going away")
                return
            await asyncio.sleep(min(idle, life))

    async def _dispatch(self, connection: Connection, messages: asyncio.Queue[str | bytes | None]) -> None:
        while (data := await messages.get()) is not None:
            await self._message(connection, data)

    async def _message(self, connection: Connection, data: str | bytes) -> None:
        route = self._route_of(data)
        request_id = events.request_id()
        message = "Forbidden"
        if route is not None:
            context = events.socket_context(
                *(connection.facts, "MESSAGE", route, connection.authorizer), messageId=request_id, requestId=request_id
            )
            try:
                if _response(await self._integrate(route, events.message_event(data, context))) is not None:
                    return
                message = "Internal server error"
            except TimeoutError:
                message = "Endpoint request timed out"
        error = {"message": message, "connectionId": connection.facts.connection_id, "requestId": request_id}
        with contextlib.suppress(GoneError, SlowClientError):
            await connection.post(json.dumps(error).encode())

    def _route_of(self, data: str | bytes) -> str | None:
        try:
            value: Any = json.loads(data)
            for name in self._selection:
                value = value[name]
        except (ValueError, LookupError, TypeError, RecursionError):
            value = None
        if isinstance(value, str) and not value.startswith("$") and value in self._routes:
            return value
        return "$default" if "$default" in self._routes else None

    async def _disconnected(self, connection: Connection, code: int, reason: str) -> None:
        if "$disconnect" not in self._routes:
            return
        context = events.socket_context(
            *(connection.facts, "DISCONNECT", "$disconnect", connection.authorizer),
            disconnectStatusCode=code,
            disconnectReason=reason or _REASONS.get(code, ""),
        )
        with contextlib.suppress(TimeoutError):
            await self._integrate("$disconnect", events.disconnect_event(self._place, context))

    async def _integrate(self, route: str, event: Mapping[str, Any]) -> Result:
        async with asyncio.timeout(INTEGRATION_SECONDS):
            return await self._runtime.invoke(self._routes[route], event)


async def _read(
    connection: Connection, receive: Receive, messages: asyncio.Queue[str | bytes | None]
) -> tuple[int, str]:
    while (message := await receive())["type"] == "websocket.receive":
        connection.touch()
        text = message.get("text")
        await messages.put(text if text is not None else message["bytes"])
    # uvicorn reports 1005 also for a connection that was lost without a close frame, and then no reason.
    return (message["code"], message["reason"] or "") if "reason" in message else (1006, "")


def _response(result: Result) -> dict[str, Any] | None:
    """Return a function's answer if it is one that a WebSocket integration accepts: an object with a statusCode."""
    answer = result.object()
    return answer if answer is not None and isinstance(answer.get("statusCode"), int) else None
