"""The AWS APIs that functions call with boto3: @connections and Lambda's Invoke."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

from starlette.responses import JSONResponse, Response

from local.apigateway import events
from local.apigateway.incoming import BodyTooLargeError, read_body, refusal
from local.apigateway.websocket_api import Connection, Connections, GoneError, SlowClientError
from local.lambda_runtime.runtime import UnknownFunctionError

if TYPE_CHECKING:
    from starlette.requests import Request

    from local.lambda_runtime.runtime import Runtime

MESSAGE_LIMIT = 128 * 1024  # bytes, for both directions of a WebSocket
_INVOKE_LIMITS = {"RequestResponse": 6 * 1024 * 1024, "Event": 1024 * 1024, "DryRun": 6 * 1024 * 1024}
_MANAGEMENT = "/@connections/"
_FUNCTIONS = "/2015-03-31/functions/"


class Refused(Exception):
    """A call that is answered with an error: its status, type and message."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(status, kind, message)
        self.status = status
        self.kind = kind
        self.message = message


class AwsApi:
    """Answers the AWS APIs that functions use."""

    def __init__(self, connections: Connections, runtime: Runtime) -> None:
        self._connections = connections
        self._runtime = runtime

    @staticmethod
    def owns(path: str) -> bool:
        """Tell whether a path, decoded, belongs to one of these APIs."""
        return _MANAGEMENT in path or path.startswith(_FUNCTIONS)

    async def answer(self, request: Request) -> Response:
        """Answer one call.  It must be signed with any key, so that no page in a browser can make it."""
        try:
            if not request.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 "):
                raise Refused(403, "MissingAuthenticationTokenException", "Missing Authentication Token")  # noqa: TRY301
            path: str = request.scope["path"]
            call = self._invoke if path.startswith(_FUNCTIONS) else self._manage
            response = await call(request, path)
        except Refused as error:
            response = refusal(error.status, error.message)
            response.headers["x-amzn-errortype"] = error.kind
        response.headers["x-amzn-requestid"] = events.request_id()
        return response

    async def _manage(self, request: Request, path: str) -> Response:
        connection_id = path.rpartition(_MANAGEMENT)[2]
        try:
            data = await read_body(request, MESSAGE_LIMIT)
            connection = self._connections.find(connection_id)
            if request.method == "POST":
                await connection.post(data)
                return Response()
            if request.method == "DELETE":
                await connection.close(1000, "")
                return Response(status_code=204)
            if request.method == "GET":
                return JSONResponse(_described(connection))
        except BodyTooLargeError:
            raise Refused(413, "PayloadTooLargeException", "Message too long") from None
        except GoneError:
            raise Refused(410, "GoneException", "Gone") from None
        except SlowClientError:
            message = "The client is sending more than the allowed rate or the WebSocket client side buffer is full"
            raise Refused(429, "LimitExceededException", message) from None
        raise Refused(403, "MissingAuthenticationTokenException", "Missing Authentication Token")

    async def _invoke(self, request: Request, path: str) -> Response:
        raw_path = request.scope["raw_path"].decode("latin-1")
        reference, _, operation = raw_path.removeprefix(_FUNCTIONS).partition("/")
        if (request.method, operation) != ("POST", "invocations"):
            raise Refused(404, "UnknownOperationException", f"{request.method} {path} is not known here")
        name = _function_name(unquote(reference))
        kind = request.headers.get("x-amz-invocation-type", "RequestResponse")
        if kind not in _INVOKE_LIMITS:
            raise Refused(400, "InvalidParameterValueException", f"InvocationType {kind}")
        try:
            event = json.loads(await read_body(request, _INVOKE_LIMITS[kind]) or b"{}")
        except BodyTooLargeError:
            message = f"{kind} events have at most {_INVOKE_LIMITS[kind]} bytes"
            raise Refused(413, "RequestTooLargeException", message) from None
        except ValueError as error:
            raise Refused(400, "InvalidRequestContentException", f"Could not parse request body: {error}") from None
        try:
            if kind == "RequestResponse":
                result = await self._runtime.invoke(name, event)
                response = Response(result.payload, media_type="application/json")
                if result.failed:
                    response.headers["x-amz-function-error"] = "Unhandled"
            elif kind == "Event":
                self._runtime.invoke_async(name, event)
                response = Response(status_code=202)
            else:
                self._runtime.function(name)
                response = Response(status_code=204)
        except UnknownFunctionError:
            raise Refused(404, "ResourceNotFoundException", f"Function not found: {name}") from None
        response.headers["x-amz-executed-version"] = "$LATEST"
        return response


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
