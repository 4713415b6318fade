"""The HTTP API: chooses the route, asks the authorizer, runs the function, turns its answer into a response."""

from __future__ import annotations

import base64
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from local.apigateway import events
from local.apigateway.http_messages import OWN_HEADERS, TOKEN, Response, refusal
from local.apigateway.http_server import BODY_LIMIT
from local.lambda_runtime.runtime import WAITED_TOO_LONG

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
        self._found = lru_cache(maxsize=4096)(self._find)

    def answer(self, request: Request, done: Callable[[Response], None]) -> None:
        """Answer one request: `done` gets the response, which may be after this returns."""
        request_id = events.request_id()

        def finish(response: Response) -> None:
            response.headers.append(("apigw-requestid", request_id))
            done(response)

        found = self._found(request.method, request.path, request.raw_path)
        if request.body_size > BODY_LIMIT:
            finish(refusal(413, "Request Entity Too Large"))
        elif found is None:
            finish(refusal(404, "Not Found"))
        else:
            route, path_parameters = found
            event = events.http_event(request, route, path_parameters, self._place, request_id)
            if route.authorizer is None:
                self._integrate(request, route, event, finish)
            else:
                self._authorize(request, route, route.authorizer, event, finish)

    def _integrate(
        self, request: Request, route: HttpRoute, event: dict[str, Any], finish: Callable[[Response], None]
    ) -> None:
        """Run the function of a route."""
        event |= events.http_body(request, request.body)

        def answered(result: Result) -> None:
            if result is WAITED_TOO_LONG:
                response = refusal(503, "Service Unavailable")
            else:
                try:
                    response = _response_of(result)
                except (
                    ArithmeticError,
                    AttributeError,
                    TypeError,
                    ValueError,
                ):  # it failed, or a field has a wrong value
                    response = refusal(500, "Internal Server Error")
            finish(response)

        self._runtime.start(route.function, orjson.dumps(event), answered, patience=INTEGRATION_SECONDS)

    def _authorize(
        self,
        request: Request,
        route: HttpRoute,
        authorizer: Authorizer,
        event: dict[str, Any],
        finish: Callable[[Response], None],
    ) -> None:
        """Ask a route's authorizer, and run the function if it agrees."""
        sources = [_identity(source, event) for source in authorizer.identity_sources]
        if not all(sources):
            finish(refusal(401, "Unauthorized"))
            return

        def answered(result: Result) -> None:
            verdict = result.object()
            if verdict is None or not isinstance(verdict.get("isAuthorized"), bool):
                finish(refusal(500, "Internal Server Error"))
            elif not verdict["isAuthorized"]:
                finish(refusal(403, "Forbidden"))
            else:
                event["requestContext"]["authorizer"] = {"lambda": verdict.get("context")}
                self._integrate(request, route, event, finish)

        arn = (
            f"arn:aws:execute-api:{self._place.region}:{self._place.account}:{events.API_ID}"
            f"/$default/{request.method}{request.path}"
        )
        asked = events.http_authorizer_event(event, arn, [source for source in sources if source] or None)
        self._runtime.start(authorizer.function, orjson.dumps(asked), answered)

    def _find(self, method: str, path: str, raw_path: str) -> tuple[HttpRoute, dict[str, str]] | None:
        """Return the most specific route, which is a literal one if there is one, and the path parameters."""
        plain = path if raw_path.count("/") == path.count("/") else raw_path
        literal = self._literal.get((method, plain)) or self._literal.get(("ANY", plain))
        if literal is not None:
            return literal, {}
        given = [unquote(part) for part in raw_path.split("/")]
        for route, beginning, wanted in self._others.get(method, self._others["ANY"]):
            parameters = _match(wanted, given) if given[: len(beginning)] == beginning else None
            if parameters is not None:
                return route, parameters
        default = self._literal.get(("ANY", "$default"))
        return (default, {}) if default is not None else None


def _response_of(result: Result) -> Response:
    """Read a function's answer by the rules of payload format 2.0; raise one of four errors if they forbid it."""
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
    headers = [_header(name, value) for name, value in single.items()]
    for name, values in multiple.items():
        headers += [_header(name, value) for value in values]
    names = {name for name, _ in headers}
    if "content-type" not in names:
        headers.append(("content-type", "text/plain;charset=UTF-8"))
    if not names.isdisjoint(OWN_HEADERS):
        headers = [each for each in headers if each[0] not in OWN_HEADERS]
    headers += [_header("set-cookie", cookie) for cookie in cookies]
    status = int(answer["statusCode"])
    if not 100 <= status < 600:  # noqa: PLR2004 -- HTTP's
        raise ValueError(f"statusCode {status}")
    body: str = answer.get("body") or ""
    return Response(
        status=status,
        headers=headers,
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
