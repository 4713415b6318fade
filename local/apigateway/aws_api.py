"""What functions call with boto3: the @connections API and Lambda's Invoke."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

from local.apigateway import events
from local.apigateway.asgi import BodyTooLargeError, Request, read_body, respond, respond_json
from local.apigateway.websocket_api import Connection, Connections, GoneError, SlowClientError
from local.lambda_runtime.runtime import UnknownFunctionError

if TYPE_CHECKING:
    from local.apigateway.asgi import Receive, Scope, Send
    from local.apigateway.fault_injection import Faults
    from local.lambda_runtime.runtime import Runtime

MESSAGE_LIMIT = 128 * 1024  # bytes, for both directions of a socket
_INVOKE_LIMITS = {"RequestResponse": 6 * 1024 * 1024, "Event": 1024 * 1024, "DryRun": 6 * 1024 * 1024}
_ERRORS = {
    403: "ForbiddenException",
    410: "GoneException",
    413: "PayloadTooLargeException",
    429: "LimitExceededException",
}
_MANAGEMENT = "/@connections/"
_FUNCTIONS = "/2015-03-31/functions/"


class Refused(Exception):
    """A call that is answered with an error: its status, type and message."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(status, kind, message)
        self.status = status
        self.kind = kind
        self.message = message


class Control:
    """Answers the AWS APIs that functions use."""

    def __init__(self, connections: Connections, runtime: Runtime, faults: Faults) -> None:
        self._connections = connections
        self._runtime = runtime
        self._faults = faults
        self._delayed: set[asyncio.Task[None]] = set()

    @staticmethod
    def owns(path: str) -> bool:
        """Tell whether a path, decoded, is one of these APIs."""
        return _MANAGEMENT in path or path.startswith(_FUNCTIONS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call.  It must be signed, though with any key: no page in a browser can make it then."""
        request = Request.of(scope)
        marked = [("x-amzn-requestid", events.request_id())]
        try:
            if not request.header("authorization").startswith("AWS4-HMAC-SHA256 "):
                raise Refused(403, "MissingAuthenticationTokenException", "Missing Authentication Token")  # noqa: TRY301
            if request.path.startswith(_FUNCTIONS):
                await self._invoke(request, receive, send, marked)
            else:
                await self._manage(request, receive, send, marked)
        except Refused as error:
            headers = [("x-amzn-errortype", error.kind), *marked]
            await respond_json(send, error.status, {"message": error.message}, headers)
        except ConnectionResetError:
            return

    async def invoke_async(self, function: str, event: object) -> None:
        """Invoke a function asynchronously, as often and as late as the faults say."""
        fault = self._faults.on_invoke(function, event)
        if not fault.delay:
            self._accept(function, event, fault.copies)
            return
        task = asyncio.create_task(self._accept_later(function, event, fault.copies, fault.delay))
        self._delayed.add(task)
        task.add_done_callback(self._delayed.discard)

    def close(self) -> None:
        """Drop the invocations that a fault has delayed."""
        for task in self._delayed:
            task.cancel()

    async def _accept_later(self, function: str, event: object, copies: int, delay: float) -> None:
        await asyncio.sleep(delay)
        self._accept(function, event, copies)

    def _accept(self, function: str, event: object, copies: int) -> None:
        for _ in range(copies):
            self._runtime.invoke_async(function, event)

    async def _manage(self, request: Request, receive: Receive, send: Send, marked: list[tuple[str, str]]) -> None:
        connection_id = request.path.rpartition(_MANAGEMENT)[2]
        try:
            data = await read_body(receive, MESSAGE_LIMIT)
            if request.method == "POST":
                await self._post(connection_id, data)
                await respond(send, 200, b"", marked)
                return
            connection = self._connections.find(connection_id)
            if request.method == "DELETE":
                await connection.close(1000, "")
                await respond(send, 204, b"", marked)
            elif request.method == "GET":
                await respond_json(send, 200, _described(connection), marked)
            else:
                raise Refused(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        except BodyTooLargeError:
            raise Refused(413, _ERRORS[413], "Message too long") from None
        except GoneError:
            raise Refused(410, _ERRORS[410], "Gone") from None
        except SlowClientError:
            message = "The client is sending more than the allowed rate or the WebSocket client side buffer is full"
            raise Refused(429, _ERRORS[429], message) from None

    async def _post(self, connection_id: str, data: bytes) -> None:
        fault = self._faults.on_post(connection_id, data)
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.status is not None:
            kind = _ERRORS.get(fault.status, "InternalServerErrorException")
            raise Refused(fault.status, kind, "An injected fault")
        for _ in range(fault.copies):
            await self._connections.find(connection_id).post(data)
        if fault.answer_after:
            await asyncio.sleep(fault.answer_after)

    async def _invoke(self, request: Request, receive: Receive, send: Send, marked: list[tuple[str, str]]) -> None:
        reference, _, operation = request.raw_path.removeprefix(_FUNCTIONS).partition("/")
        if (request.method, operation) != ("POST", "invocations"):
            raise Refused(404, "UnknownOperationException", f"{request.method} {request.path} is not known here")
        name = _function_name(unquote(reference))
        kind = request.header("x-amz-invocation-type") or "RequestResponse"
        if kind not in _INVOKE_LIMITS:
            raise Refused(400, "InvalidParameterValueException", f"InvocationType {kind}")
        try:
            body = await read_body(receive, _INVOKE_LIMITS[kind])
            event = json.loads(body or b"{}")
        except BodyTooLargeError:
            raise Refused(
                413, "RequestTooLargeException", f"{kind} events have at most {_INVOKE_LIMITS[kind]} bytes"
            ) from None
        except ValueError as error:
            raise Refused(400, "InvalidRequestContentException", f"Could not parse request body: {error}") from None
        executed = [("x-amz-executed-version", "$LATEST"), *marked]
        try:
            if kind == "RequestResponse":
                result = await self._runtime.invoke(name, event)
                failed = [("x-amz-function-error", "Unhandled")] if result.failed else []
                await respond(send, 200, result.payload, [("content-type", "application/json"), *failed, *executed])
            elif kind == "Event":
                await self.invoke_async(name, event)
                await respond(send, 202, b"", executed)
            else:
                self._runtime.function(name)
                await respond(send, 204, b"", executed)
        except UnknownFunctionError:
            raise Refused(404, "ResourceNotFoundException", f"Function not found: {name}") from None


def _function_name(reference: str) -> str:
    """Return the name in a name, an ARN or a part of one, without the qualifier."""
    _, found, rest = reference.rpartition("function:")
    return (rest if found else reference).partition(":")[0]


def _described(connection: Connection) -> dict[str, object]:
    return {
        "connectedAt": _iso(connection.facts.connected_at),
        "identity": {"sourceIp": connection.facts.source_ip, "userAgent": connection.facts.user_agent},
        "lastActiveAt": _iso(connection.last_active_at),
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
