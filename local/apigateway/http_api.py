"""The HTTP API: chooses the route, asks the authorizer, runs the function, turns its answer into a response."""

from __future__ import annotations

import base64
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from local.apigateway import events
from local.apigateway.http_messages import OWN_HEADERS, TOKEN, BodyTooLargeError, Response, refusal
from local.apigateway.http_server import BODY_LIMIT
from local.lambda_runtime.runtime import WAITED_TOO_LONG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local.apigateway.http_messages import Request
    from local.lambda_runtime.runtime import Result, Runtime
    from local.sam_template.resources import Authorizer, HttpRoute

INTEGRATION_SECONDS = 30.0
_NO_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class HttpApi:
    """Serves the HTTP routes of a deployment."""

    def __init__(self, runtime: Runtime, place: events.Place) -> None:
        self._runtime = runtime
        self._place = place
        routes = sorted(runtime.deployment.http_routes, key=_precedence)
        self._literal = {(route.method, route.path): route for route in routes if "{" not in route.path}
        self._others = {
            method: [
                (route, route.path.partition("{")[0].split("/")[:-1], route.path.split("/"))
                for route in routes
                if "{" in route.path and route.method in {"ANY", method}
            ]
            for method in {"ANY", *(route.method for route in routes)}
        }

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        request_id = events.request_id()
        try:
            response = await self._integrate(request, request.body_within(BODY_LIMIT), request_id)
        except BodyTooLargeError:
            response = refusal(413, "Request Entity Too Large")
        response.headers.append(("apigw-requestid", request_id))
        return response

    async def _integrate(self, request: Request, body: bytes, request_id: str) -> Response:
        found = self._route(request)
        if found is None:
            return refusal(404, "Not Found")
        route, path_parameters = found
        event = events.http_event(request, route, path_parameters, self._place, request_id)
        if route.authorizer is not None:
            verdict = await self._authorize(route.authorizer, event, request)
            if isinstance(verdict, Response):
                return verdict
            event["requestContext"]["authorizer"] = {"lambda": verdict}
        event |= events.http_body(request, body)
        result = await self._runtime.invoke(route.function, event, patience=INTEGRATION_SECONDS)
        if result is WAITED_TOO_LONG:
            return refusal(503, "Service Unavailable")
        try:
            return _response_of(result)
        except (AttributeError, TypeError, ValueError):  # it failed, or a field has a wrong type
            return refusal(500, "Internal Server Error")

    def _route(self, request: Request) -> tuple[HttpRoute, dict[str, str]] | None:
        """Return the most specific route, which is a literal one if there is one, and the path parameters."""
        method, raw_path = request.method, request.raw_path
        path = request.path if raw_path.count("/") == request.path.count("/") else raw_path
        literal = self._literal.get((method, path)) or self._literal.get(("ANY", path))
        if literal is not None:
            return literal, {}
        given = [unquote(part) for part in raw_path.split("/")]
        for route, beginning, wanted in self._others.get(method, self._others["ANY"]):
            parameters = _match(wanted, given) if given[: len(beginning)] == beginning else None
            if parameters is not None:
                return route, parameters
        default = self._literal.get(("ANY", "$default"))
        return (default, {}) if default is not None else None

    async def _authorize(
        self, authorizer: Authorizer, event: dict[str, Any], request: Request
    ) -> dict[str, Any] | Response | None:
        sources = [_identity(source, event) for source in authorizer.identity_sources]
        if not all(sources):
            return refusal(401, "Unauthorized")
        arn = (
            f"arn:aws:execute-api:{self._place.region}:{self._place.account}:{events.API_ID}"
            f"/$default/{request.method}{request.path}"
        )
        asked = events.http_authorizer_event(event, arn, [source for source in sources if source] or None)
        result = await self._runtime.invoke(authorizer.function, asked)
        verdict = result.object()
        if verdict is None or not isinstance(verdict.get("isAuthorized"), bool):
            return refusal(500, "Internal Server Error")
        if not verdict["isAuthorized"]:
            return refusal(403, "Forbidden")
        context: dict[str, Any] | None = verdict.get("context")
        return context


def _response_of(result: Result) -> Response:
    """Read a function's answer by the rules of payload format 2.0; raise one of three errors if they forbid it."""
    if result.failed:
        raise ValueError(result.payload)
    answer = result.object()
    if answer is None or "statusCode" not in answer:
        plain = result.json()
        text = plain if isinstance(plain, str) else json.dumps(plain)
        return Response(headers=[("content-type", "application/json")], body=text.encode())
    single: dict[str, Any] = answer.get("headers") or {}
    multiple: dict[str, list[Any]] = answer.get("multiValueHeaders") or {}
    cookies: list[Any] = answer.get("cookies") or []
    headers = [*single.items(), *((name, value) for name, values in multiple.items() for value in values)]
    headers = [_header(name, value) for name, value in headers]
    if not any(name == "content-type" for name, _ in headers):
        headers.append(("content-type", "text/plain;charset=UTF-8"))
    headers += [_header("set-cookie", cookie) for cookie in cookies]
    status = int(answer["statusCode"])
    if not 100 <= status < 600:  # noqa: PLR2004 -- HTTP's
        raise ValueError(f"statusCode {status}")
    body: str = answer.get("body") or ""
    return Response(
        status=status,
        headers=[each for each in headers if each[0] not in OWN_HEADERS],
        body=base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode(),
    )


@lru_cache(maxsize=256, typed=True)  # most are the same in each answer
def _header(name: str, value: object) -> tuple[str, str]:
    """Return a header as it is sent; raise ValueError or TypeError if that is impossible."""
    if not isinstance(value, str | int | float):
        raise TypeError(f"header {name!r}")
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text.encode("latin-1")
    if not TOKEN.fullmatch(name) or _NO_VALUE.search(text):
        raise ValueError(f"header {name!r}")
    return name.lower(), text


def _precedence(route: HttpRoute) -> tuple[object, ...]:
    """Order routes as API Gateway prefers them: full before greedy, literal before variable, `$default` last."""
    parts = route.path.split("/")
    greedy = [part.endswith("+}") for part in parts]
    ranks = [(is_greedy, part.startswith("{")) for is_greedy, part in zip(greedy, parts, strict=True)]
    return route.path == "$default", any(greedy), ranks, route.method == "ANY"


def _match(wanted: Sequence[str], given: Sequence[str]) -> dict[str, str] | None:
    """Return the path parameters if the decoded parts of a path match."""
    parameters: dict[str, str] = {}
    for index, part in enumerate(wanted):
        if part.endswith("+}"):
            rest = "/".join(given[index:])
            return {**parameters, part[1:-2]: rest} if rest else None
        if index >= len(given):
            return None
        value = given[index]
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
