"""The HTTP edge of a function: who calls, what they send, and answers of every kind."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Header, Query
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel

from dispatcher.access.roles import Operator, Role
from dispatcher.api import cursors, incoming
from dispatcher.api.cursors import PAGE_BYTES, PAGE_MOST
from dispatcher.api.problems import event_answer_of, malformed, not_found, problem_of
from dispatcher.api.schema_base import render
from dispatcher.errors import NotAllowed, NotAuthenticated, Unavailable
from dispatcher.platform import edge
from dispatcher.platform.json_text import loads_strict
from dispatcher.platform.observability import deadline_of

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import Route

T = TypeVar("T")

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""For browsers: an answer is data, and nobody keeps it.  A route that serves a page gives its own policy."""

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=256)]
"""The key under which a request may be repeated without a second effect."""
Limit = Annotated[int, Query(ge=1, le=PAGE_MOST)]
"""The most entries of a page."""
Cursor = Annotated[str | None, Query()]


class Api(APIGatewayHttpResolver):
    """A resolver whose routes need an authenticated operator, except the public ones (None: all are public).

    Annotations validate bodies and parameters.  Every error comes back as a problem document.
    """

    def __init__(self, *, public: frozenset[str] | None = frozenset()) -> None:
        super().__init__(enable_validation=True, json_body_deserializer=_body)
        self._public = public
        self.templates: list[tuple[str, str]] = []
        """Each route's method and path, with the names of its parameters in braces."""
        # The functions build their own documents, so nothing is validated a second time.
        self._response_validation_middleware = _rendered
        if public is not None:
            self.use(middlewares=[_refuse_unknown_parameters])
        self.exception_handler(Exception)(problem_of)
        self.not_found(not_found)

    def answer(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Answer one HTTP event."""
        try:
            admitted = incoming.admit(event)
            self._authenticate(admitted)
        except Exception as error:  # noqa: BLE001 - problem_of logs what it does not know
            answer = event_answer_of(problem_of(error))
        else:
            answer = self.resolve(admitted, context)
        answer["headers"] = SECURITY_HEADERS | answer["headers"]
        return answer | {"body": ""} if incoming.method_of(event) == "HEAD" else answer

    def route(self, rule: str, method: str | list[str] | tuple[str], *args: Any, **options: Any) -> Any:
        """Add a route; a path's parameter stands in angle brackets."""
        methods = (method,) if isinstance(method, str) else method
        self.templates += [(each, rule.translate(_BRACES)) for each in methods]
        return super().route(rule, method, *args, **options)

    @staticmethod
    def _compile_regex(rule: str, base_regex: str = "") -> re.Pattern[str]:
        """Let a parameter be any segment; Powertools would refuse ids that end with a hyphen."""
        del base_regex
        return re.compile(re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", rule) + r"\Z")

    def operator_with(self, role: Role) -> Operator:
        """Return the operator who calls; raises NotAllowed for a lower role."""
        operator = cast("Operator", self.context["operator"])
        operator.require(role)
        return operator

    def unlimited_admin(self) -> Operator:
        """Return the operator who calls; raises NotAllowed unless they are an admin without a label limit."""
        operator = self.operator_with(Role.ADMIN)
        if operator.scope is not None:
            raise NotAllowed("Label-restricted operators cannot do this.")
        return operator

    @property
    def deadline(self) -> Callable[[], float]:
        """A function that returns how many seconds this invocation has left."""
        return deadline_of(self.lambda_context)

    @property
    def source_ip(self) -> str:
        """The address of the caller."""
        return _source_ip_of(self.current_event.raw_event)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the request, with lower-case names."""
        return edge.headers_of(self.current_event.raw_event)

    def _authenticate(self, event: Mapping[str, Any]) -> None:
        method, path = incoming.method_of(event), event["rawPath"]
        if self._public is None or f"{method} {path}" in self._public:
            return
        self.context["operator"] = _operator_of(event)


_BRACES = str.maketrans("<>", "{}")


def answer_with(status: HTTPStatus, document: T, *, location: str | None = None) -> Response[T]:
    """Answer with a document, and with its location."""
    headers = {"Location": location} if location else None
    return Response(status_code=status, content_type="application/json", body=document, headers=headers)


def accepted(document: T, location: str) -> Response[T]:
    """Answer 202: the request is committed, and `location` shows its state."""
    return answer_with(HTTPStatus.ACCEPTED, document, location=location)


def answer_page(
    plural: str,
    rows: Sequence[T],
    document: Callable[[T], BaseModel],
    *,
    limit: int,
    position: Callable[[T], str | int],
    more: bool | None = None,
    exclude: set[str] | None = None,
) -> Response[Any]:
    """Answer with a page of a list, and the cursor of the next page.

    The page ends before PAGE_BYTES are exceeded, or with its first row.  `more` tells whether rows follow the last one;
    None: they do if there are as many as the limit.
    """
    items: list[str] = []
    size = 0
    for row in rows:
        item = render(document(row), exclude=exclude)
        size += len(item) if item.isascii() else len(item.encode())
        if items and size > PAGE_BYTES:
            more = True
            break
        items.append(item)
    if len(rows) == limit if more is None else more:
        following = f'"{cursors.encode(position(rows[len(items) - 1]))}"'
    else:
        following = "null"
    body = f'{{"{plural}":[{",".join(items)}],"nextCursor":{following}}}'
    return Response(status_code=HTTPStatus.OK, content_type="application/json", body=body)


def no_content() -> Response[None]:
    """Answer 204."""
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _operator_of(event: Mapping[str, Any]) -> Operator:
    """Read the authorizer's result.  The authorizer never denies, so that a refusal can be a problem document."""
    found: dict[str, str] = event["requestContext"].get("authorizer", {}).get("lambda") or {}
    if "unavailable" in found:
        raise Unavailable(found["unavailable"])
    if "username" not in found:
        raise NotAuthenticated(found.get("reason") or "Send the header `Authorization: Bearer <token>`.")
    labels = found.get("labels")
    return Operator(
        username=found["username"],
        role=Role(found["role"]),
        scope=json.loads(labels) if labels else None,
        source_ip=_source_ip_of(event),
    )


def _source_ip_of(event: Mapping[str, Any]) -> str:
    return edge.caller_address(edge.headers_of(event), event["requestContext"]["http"].get("sourceIp", ""))


def _refuse_unknown_parameters(api: Api, following: Callable[[Api], Response[Any]]) -> Response[Any]:
    """Refuse an unknown query parameter, like an unknown field of a body: a misspelt filter would list everything."""
    # Powertools puts the route there and has no other way to it.
    route = cast("Route | None", api.context.get("_route"))
    if route is not None:
        known = {parameter.alias for parameter in route.dependant.query_params}
        asked = api.current_event.resolved_query_string_parameters
        unknown = [{"at": f"query/{name[:64]}", "is": "Not a parameter of this path"} for name in sorted({*asked} - known)]
        if unknown:
            raise malformed(unknown)
    return following(api)


def _rendered(api: Api, following: Callable[[Api], Response[Any]]) -> Response[Any]:
    response = following(api)
    if isinstance(response.body, BaseModel):
        response.body = render(response.body)
    return response


def _body(text: str | None) -> Any:
    return loads_strict(text) if text else None
