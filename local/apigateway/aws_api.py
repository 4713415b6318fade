"""The AWS APIs that functions call with boto3: @connections, Lambda's Invoke, SQS's SendMessage."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

from local.apigateway import events, sqs_api
from local.apigateway.aws_errors import Refused
from local.apigateway.http_messages import BodyTooLargeError, Response, json_response, refusal
from local.apigateway.websocket_api import Connection, Connections, GoneError, SlowClientError
from local.apigateway.websocket_protocol import MESSAGE_LIMIT
from local.credentials import Call, SignatureError
from local.lambda_runtime.runtime import UnknownFunctionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.apigateway.http_messages import Request
    from local.apigateway.queues import Queues
    from local.lambda_runtime.runtime import Result, Runtime

_logger = logging.getLogger(__name__)
_INVOKE_LIMITS = {"RequestResponse": 6 * 1024 * 1024, "Event": 1024 * 1024, "DryRun": 6 * 1024 * 1024}
_SEND_LIMIT = 2 * sqs_api.BODY_LIMIT  # bytes: JSON escapes some characters of a body
_MANAGEMENT = "/@connections/"
_FUNCTIONS = "/2015-03-31/functions/"
_QUEUES = "/sqs"
_EXECUTED_VERSION = ("x-amz-executed-version", "$LATEST")
_PATIENCE = 1.0  # seconds that a post waits for a client that does not read


class AwsApi:
    """Answers the AWS APIs that functions use.

    Each call must be signed with the key of this run's functions, so that no other process and no page in a browser can
    make one.
    """

    def __init__(self, connections: Connections, runtime: Runtime, queues: Queues) -> None:
        self._connections = connections
        self._runtime = runtime
        self._queues = queues
        self._tasks: set[asyncio.Task[None]] = set()

    @staticmethod
    def owns(path: str) -> bool:
        """Tell whether a path, decoded, belongs to one of these APIs."""
        return _MANAGEMENT in path or path.startswith(_FUNCTIONS) or path.rstrip("/") == _QUEUES

    def answer(self, request: Request, done: Callable[[Response], None]) -> None:
        """Answer one call: `done` gets the response, without a task if nothing else has to be waited for than a function."""

        def finish(response: Response) -> None:
            response.headers.append(("x-amzn-requestid", events.request_id()))
            done(response)

        connection_id = _connection_id(request.path)
        try:
            if request.path.startswith(_FUNCTIONS):
                self._invoke(request, request.path, finish)
                return
            if connection_id is not None and not self._connections.is_stuck(connection_id):
                finish(self._manage(request, connection_id))
                return
        except Refused as error:
            finish(_refusal_of(error, request.path))
            return
        task = asyncio.get_running_loop().create_task(self._answer_later(request, connection_id, finish))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_later(
        self, request: Request, connection_id: str | None, finish: Callable[[Response], None]
    ) -> None:
        try:
            if connection_id is not None:
                await self._connections.until_writable(connection_id, _PATIENCE)
                response = self._manage(request, connection_id)
            else:
                response = await self._send(request)
        except Refused as error:
            response = _refusal_of(error, request.path)
        except Exception:
            _logger.exception("A call failed")
            response = refusal(500, "Internal Server Error")
        finish(response)

    def _signed_body(self, request: Request, service: str, limit: int) -> bytes:
        """Read the body of a call, and check its signature; raises Refused and BodyTooLargeError."""
        body = request.body_within(limit)
        call = Call(
            method=request.method, path=request.raw_path, query=request.query, headers=request.fields, body=body
        )
        try:
            self._runtime.credentials.verify(call, region=self._runtime.deployment.region, service=service)
        except SignatureError as error:
            raise Refused(403, error.kind, error.message) from None
        return body

    async def _send(self, request: Request) -> Response:
        try:
            body = self._signed_body(request, "sqs", _SEND_LIMIT)
        except BodyTooLargeError:
            raise Refused(413, "RequestEntityTooLarge", f"A request has at most {_SEND_LIMIT} bytes") from None
        return json_response(await sqs_api.answer(self._queues, request.header("x-amz-target"), body))

    def _manage(self, request: Request, connection_id: str) -> Response:
        try:
            data = self._signed_body(request, "execute-api", MESSAGE_LIMIT)
            connection = self._connections.find(connection_id)
            if request.method == "POST":
                connection.post(data)
                return Response()
            if request.method == "DELETE":
                connection.close(1000, "")
                return Response(status=204)
            if request.method == "GET":
                return json_response(_described(connection))
        except BodyTooLargeError:
            raise Refused(413, "PayloadTooLargeException", "Message too long") from None
        except GoneError:
            raise Refused(410, "GoneException", "Gone") from None
        except SlowClientError:
            message = "The client is sending more than the allowed rate or the WebSocket client side buffer is full"
            raise Refused(429, "LimitExceededException", message) from None
        raise Refused(403, "MissingAuthenticationTokenException", "Missing Authentication Token")

    def _invoke(self, request: Request, path: str, finish: Callable[[Response], None]) -> None:
        reference, _, operation = request.raw_path.removeprefix(_FUNCTIONS).partition("/")
        kind = request.header("x-amz-invocation-type", "RequestResponse")
        limit = _INVOKE_LIMITS.get(kind, _INVOKE_LIMITS["RequestResponse"])
        try:
            body = self._signed_body(request, "lambda", limit)
        except BodyTooLargeError:
            message = f"{kind} events have at most {limit} bytes"
            raise Refused(413, "RequestTooLargeException", message) from None
        if (request.method, operation) != ("POST", "invocations"):
            raise Refused(404, "UnknownOperationException", f"{request.method} {path} is not known here")
        name = _function_name(unquote(reference))
        if kind not in _INVOKE_LIMITS:
            raise Refused(400, "InvalidParameterValueException", f"InvocationType {kind}")
        try:
            event = body or b"{}"
            json.loads(event)
        except ValueError as error:
            raise Refused(400, "InvalidRequestContentException", f"Could not parse request body: {error}") from None
        try:
            if kind == "RequestResponse":
                self._runtime.start(name, event, lambda result: finish(_outcome(result)))
            elif kind == "Event":
                self._runtime.invoke_async(name, event)
                finish(Response(status=202, headers=[_EXECUTED_VERSION]))
            else:
                self._runtime.function(name)
                finish(Response(status=204, headers=[_EXECUTED_VERSION]))
        except UnknownFunctionError:
            raise Refused(404, "ResourceNotFoundException", f"Function not found: {name}") from None


def _outcome(result: Result) -> Response:
    response = Response(headers=[("content-type", "application/json"), _EXECUTED_VERSION], body=result.payload)
    if result.failed:
        response.headers.append(("x-amz-function-error", "Unhandled"))
    return response


def _connection_id(path: str) -> str | None:
    """Return the id of the connection that a call is about."""
    return path.rpartition(_MANAGEMENT)[2] if _MANAGEMENT in path and not path.startswith(_FUNCTIONS) else None


def _refusal_of(error: Refused, path: str) -> Response:
    more = {"__type": f"com.amazonaws.sqs#{error.kind}"} if path.rstrip("/") == _QUEUES else {}
    response = refusal(error.status, error.message, **more)
    response.headers.append(("x-amzn-errortype", error.kind))
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
