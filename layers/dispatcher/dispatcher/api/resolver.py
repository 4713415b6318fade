"""The HTTP edge of a function: who calls, what they send, and answers of every kind."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from http import HTTPStatus
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Header, Query
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel

from dispatcher.access import authentication, browser_sessions
from dispatcher.access.callers import Caller
from dispatcher.access.roles import Operator, Role
from dispatcher.api import cursors, incoming
from dispatcher.api.cursors import PAGE_BYTES, PAGE_MOST
from dispatcher.api.incoming import Incoming
from dispatcher.api.operations import Operation
from dispatcher.api.problems import malformed, problem_of
from dispatcher.api.schema_base import SelectorText, render
from dispatcher.errors import DispatcherError, NotAllowed, NotFound
from dispatcher.platform import correlation, edge
from dispatcher.platform.json_text import dumps, storable
from dispatcher.platform.observability import deadline_of

T = TypeVar("T")

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""For browsers: an answer is data, and nobody keeps it.  A route that serves a page gives its own policy."""

REASON_HEADER = "audit-reason"
REASON_CHARACTERS = 1000
"""Why an operator does something: kept in the audit log's entry of the action."""

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=256)]
"""The key under which a request may be repeated without a second effect."""
Limit = Annotated[int, Query(ge=1, le=PAGE_MOST)]
"""The most entries of a page."""
Cursor = Annotated[str | None, Query(pattern="^[A-Za-z0-9_-]{2,}$", description="The nextCursor of the page before.")]

Selecting = Annotated[
    SelectorText | None, Query(description="A label selector as Kubernetes writes it: env=prod,tier in (a,b),!canary.")
]
"""Which agents are meant, by their labels."""


class Api(APIGatewayHttpResolver):
    """The routes of a function; they need an authenticated operator, except the public ones (None: all are public).

    Annotations validate bodies and parameters.  Every error comes back as a problem document.  Powertools registers the routes
    and describes them for the OpenAPI document; requests take the short way here, which costs a third of its chain.
    """

    def __init__(self, *, public: frozenset[str] | None = frozenset(), late: frozenset[str] = frozenset()) -> None:
        """Create it; operations that are `late` read the caller's rights in the statement that does the work (see `sender`)."""
        super().__init__(enable_validation=True)
        self._public = public
        self._late = late
        self._event: Mapping[str, Any] = {}
        self.headers: Mapping[str, str] = {}
        """The headers of the request, with lower-case names."""
        self._authorization: str | None = None

    def answer(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Answer one HTTP event."""
        self.headers = edge.headers_of(event)
        correlation_id = correlation.begin(self.headers)
        try:
            response = self._respond(incoming.admit(event, self.headers), context)
        except Exception as error:  # noqa: BLE001 - problem_of logs what it does not know
            response = problem_of(error)
        finally:
            self.context.clear()
        body = response.body or ""
        binary = isinstance(body, bytes)
        if incoming.method_of(event) == "HEAD":
            body = ""
        return {
            "statusCode": int(response.status_code),
            "headers": SECURITY_HEADERS | {correlation.HEADER: correlation_id} | response.headers,
            "body": base64.b64encode(body).decode() if isinstance(body, bytes) else body,
            "isBase64Encoded": binary,
        }

    @cached_property
    def operations(self) -> dict[tuple[str, str], Operation]:
        """The operations by their method and their path with the names of its parameters in braces."""
        routes = [*self._static_routes, *self._dynamic_routes]
        return {(route.method, route.path.translate(_BRACES)): Operation(route) for route in routes}

    def _respond(self, request: Incoming, context: LambdaContext) -> Response[Any]:
        self._event, self.lambda_context = request.event, context
        name = f"{request.method} {request.template}"
        caller: Operator | Caller | None = None
        if self._public is not None and name not in self._public:
            # Before the route: whoever is not known learns nothing about the body or the path.
            self._authorization = browser_sessions.authorization_of(request.event, self.headers, request.method)
            caller = authentication.caller_of(self._authorization, self.source_ip)
            if isinstance(caller, Operator) or name not in self._late:
                caller = authentication.operator_for(caller)
        try:
            if caller is not None:
                reason = _reason_of(self.headers)
                self.context["caller"] = replace(caller, reason=reason) if reason else caller
            operation = self.operations.get((request.method, request.template))
            if operation is None:
                raise NotFound("There is nothing at this path.")
            result = operation.call(request, strict=self._public is not None)
        except DispatcherError:
            if isinstance(caller, Caller):
                authentication.operator_for(caller)  # its rights first, here too
            raise
        if isinstance(result, Response):
            response: Response[Any] = result  # pyright: ignore[reportUnknownVariableType] - isinstance knows no parameters
        else:
            response = Response(status_code=operation.status, content_type="application/json", body=result)
        if isinstance(response.body, BaseModel):
            response.body = render(response.body)
        elif isinstance(response.body, dict):
            response.body = dumps(response.body)  # a stored document: every digit stays
        return response

    def operator_with(self, role: Role) -> Operator:
        """Return the operator who calls; raises NotAllowed for a lower role."""
        operator = cast("Operator", self.context["caller"])
        operator.require(role)
        return operator

    def sender(self) -> Operator | Caller:
        """Return the operator who calls; raises NotAllowed for one who is no sender.

        In an operation that is `late` it may be a Caller: then the statement that submits raises this, and NotAuthenticated.
        """
        caller = cast("Operator | Caller", self.context["caller"])
        if isinstance(caller, Operator):
            caller.require(Role.SENDER)
        return caller

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
        return edge.caller_address(self.headers, self._event["requestContext"]["http"].get("sourceIp", ""))

    @property
    def token(self) -> str:
        """The token that authenticated the caller, from the header or the cookie."""
        return (self._authorization or "").partition(" ")[2].strip()


ON_FULL_PAGE = -1
"""The next page begins after the last row, if there are as many rows as the limit."""
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
    following: str | int | None = ON_FULL_PAGE,
    exclude: set[str] | None = None,
) -> Response[Any]:
    """Answer with a page of a list, and the cursor of the next page.

    The page ends before PAGE_BYTES are exceeded, or with its first row.  `following` is where the next page begins, None if
    this is the last one; without it, the position of the last row if there are as many rows as the limit.
    """
    if following == ON_FULL_PAGE:
        following = position(rows[-1]) if len(rows) == limit else None
    items: list[str] = []
    size = 0
    for row in rows:
        item = render(document(row), exclude=exclude)
        size += len(item) if item.isascii() else len(item.encode())
        if items and size > PAGE_BYTES:
            following = position(rows[len(items) - 1])
            break
        items.append(item)
    cursor = "null" if following is None else f'"{cursors.encode(following)}"'
    body = f'{{"{plural}":[{",".join(items)}],"nextCursor":{cursor}}}'
    return Response(status_code=HTTPStatus.OK, content_type="application/json", body=body)


def no_content() -> Response[None]:
    """Answer 204."""
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _reason_of(headers: Mapping[str, str]) -> str | None:
    """Read the header Audit-Reason: a percent-encoded text."""
    reason = unquote(headers.get(REASON_HEADER, "")).strip()
    if len(reason) > REASON_CHARACTERS or reason != storable(reason):
        said = f"A text of at most {REASON_CHARACTERS} characters, percent-encoded, without U+0000"
        raise malformed([{"at": f"header/{REASON_HEADER}", "is": said}])
    return reason or None
