"""The HTTP API: chooses the route, asks the authorizer, runs the function, turns its answer into a response."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from local.apigateway import events
from local.apigateway.asgi import BodyTooLargeError, Request, read_body, respond, respond_json

if TYPE_CHECKING:
    from local.apigateway.asgi import Receive, Scope, Send
    from local.lambda_runtime.pool import Result
    from local.lambda_runtime.runtime import Runtime
    from local.sam_template.resources import Authorizer, Deployment, HttpRoute

BODY_LIMIT = 10 * 1024 * 1024  # bytes
INTEGRATION_SECONDS = 30.0


class MalformedResponseError(ValueError):
    """A function's answer is no response of payload format 2.0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What goes to the client."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class HttpApi:
    """Serves the HTTP routes of a deployment."""

    def __init__(self, deployment: Deployment, runtime: Runtime, place: events.Place) -> None:
        self._runtime = runtime
        self._place = place
        self._routes = sorted(deployment.http_routes, key=_precedence)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request.of(scope)
        request_id = events.request_id()
        marked = [("apigw-requestid", request_id)]
        try:
            body = await read_body(receive, BODY_LIMIT)
            response = await self._answer(request, body, request_id)
        except ConnectionResetError:
            return
        except BodyTooLargeError:
            await respond_json(send, 413, {"message": "Request Entity Too Large"}, marked)
        else:
            await respond(send, response.status, response.body, response.headers + marked)

    async def _answer(self, request: Request, body: bytes, request_id: str) -> Response:
        found = self._route(request)
        if found is None:
            return _refusal(404, "Not Found")
        route, path_parameters = found
        event = events.http_event(request, route, path_parameters, self._place, request_id)
        if route.authorizer is not None:
            verdict = await self._authorize(route.authorizer, event, request)
            if isinstance(verdict, Response):
                return verdict
            event["requestContext"]["authorizer"] = {"lambda": verdict}
        try:
            async with asyncio.timeout(INTEGRATION_SECONDS):
                result = await self._runtime.invoke(route.function, event | events.http_body(request, body))
        except TimeoutError:
            return _refusal(503, "Service Unavailable")
        if result.failed:
            return _refusal(500, "Internal Server Error")
        try:
            return response_of(result)
        except MalformedResponseError:
            return _refusal(500, "Internal Server Error")

    def _route(self, request: Request) -> tuple[HttpRoute, dict[str, str]] | None:
        for route in self._routes:
            if route.method in {"ANY", request.method}:
                parameters = _match(route.path, request.raw_path)
                if parameters is not None:
                    return route, parameters
        return None

    async def _authorize(
        self, authorizer: Authorizer, event: dict[str, Any], request: Request
    ) -> dict[str, Any] | Response | None:
        sources = [_identity(source, event) for source in authorizer.identity_sources]
        if not all(sources):
            return _refusal(401, "Unauthorized")
        arn = (
            f"arn:aws:execute-api:{self._place.region}:{self._place.account}:{events.API_ID}"
            f"/$default/{request.method}{request.path}"
        )
        asked = events.http_authorizer_event(event, arn, [source for source in sources if source] or None)
        result = await self._runtime.invoke(authorizer.function, asked)
        verdict = result.object()
        if verdict is None or not isinstance(verdict.get("isAuthorized"), bool):
            return _refusal(500, "Internal Server Error")
        if not verdict["isAuthorized"]:
            return _refusal(403, "Forbidden")
        context: dict[str, Any] | None = verdict.get("context")
        return context


def response_of(result: Result) -> Response:
    """Read a function's answer by the rules of payload format 2.0; raise MalformedResponseError if they forbid it."""
    answer = result.object()
    if answer is None or "statusCode" not in answer:
        plain = result.json()
        text = plain if isinstance(plain, str) else json.dumps(plain)
        return Response(status=200, headers=[("content-type", "application/json")], body=text.encode())
    try:
        return _formatted(answer)
    except (AttributeError, TypeError, ValueError) as error:  # a field is of another type than it must be
        raise MalformedResponseError(str(error)) from None


def _formatted(answer: dict[str, Any]) -> Response:
    single: dict[str, Any] = answer.get("headers") or {}
    multiple: dict[str, list[Any]] = answer.get("multiValueHeaders") or {}
    cookies: list[str] = answer.get("cookies") or []
    headers = [(name.lower(), _header(value)) for name, value in single.items()]
    headers += [(name.lower(), _header(value)) for name, values in multiple.items() for value in values]
    headers = [(name, value) for name, value in headers if name != "content-length"]
    headers += [("set-cookie", _header(cookie)) for cookie in cookies]
    if not any(name == "content-type" for name, _ in headers):
        headers.append(("content-type", "text/plain;charset=UTF-8"))
    status = int(answer["statusCode"])
    if not 100 <= status < 600:  # noqa: PLR2004 -- HTTP's
        raise ValueError(f"statusCode {status}")
    body: str = answer.get("body") or ""
    encoded = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    return Response(status=status, headers=headers, body=encoded)


def _header(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value).encode("latin-1").decode("latin-1")  # or it could not be sent: an error of the function
    raise TypeError(f"header {value!r}")


def _refusal(status: int, message: str) -> Response:
    body = json.dumps({"message": message}).encode()
    return Response(status=status, headers=[("content-type", "application/json")], body=body)


def _precedence(route: HttpRoute) -> tuple[object, ...]:
    """Order routes as API Gateway prefers them: full before greedy, literal before variable, `$default` last."""
    parts = route.path.split("/")
    greedy = [part.endswith("+}") for part in parts]
    ranks = [(is_greedy, part.startswith("{")) for is_greedy, part in zip(greedy, parts, strict=True)]
    return route.path == "$default", any(greedy), ranks, route.method == "ANY"


def _match(pattern: str, raw_path: str) -> dict[str, str] | None:
    """Return the path parameters if the path matches, decoded."""
    if pattern == "$default":
        return {}
    wanted, given = pattern.split("/"), raw_path.split("/")
    parameters: dict[str, str] = {}
    for index, part in enumerate(wanted):
        if part.endswith("+}"):
            rest = unquote("/".join(given[index:]))
            return {**parameters, part[1:-2]: rest} if rest else None
        if index >= len(given):
            return None
        value = unquote(given[index])
        if part.startswith("{") and value:
            parameters[part[1:-1]] = value
        elif part != value:
            return None
    return parameters if len(wanted) == len(given) else None


def _identity(source: str, event: dict[str, Any]) -> str | None:
    """Return the value of `$request.header.X` or `$request.querystring.X`."""
    _, place, name = source.split(".", 2)
    if place == "header":
        value: str | None = event["headers"].get(name.lower())
    else:
        value = event.get("queryStringParameters", {}).get(name)
    return value
