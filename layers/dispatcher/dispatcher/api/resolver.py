"""The HTTP edge of a function: who calls, what they send, and answers of every kind."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Header, Query
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.access import authentication
from dispatcher.access.roles import Operator, Role
from dispatcher.api.cursors import PAGE_MOST
from dispatcher.api.problems import event_answer_of, malformed, not_found, problem_of
from dispatcher.errors import InvalidRequest, NotAllowed, UnsupportedMediaType
from dispatcher.platform import edge
from dispatcher.platform.json_text import loads_strict
from dispatcher.platform.observability import deadline_of

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import Route

T = TypeVar("T")

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=256)]
"""The key under which a request may be repeated without a second effect."""
Limit = Annotated[int, Query(ge=1, le=PAGE_MOST)]
"""The most entries of a page."""
Cursor = Annotated[str | None, Query()]

_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


class Api(APIGatewayHttpResolver):
    """A resolver whose routes need an authenticated operator, except the public ones (None: all are public).

    Annotations validate bodies and parameters.  Every error comes back as a problem document.
    """

    def __init__(self, *, public: frozenset[str] | None = frozenset()) -> None:
        super().__init__(enable_validation=True, json_body_deserializer=_body)
        self._public = public
        if public is not None:
            self.use(middlewares=[_refuse_unknown_parameters])
        self.exception_handler(Exception)(problem_of)
        self.not_found(not_found)

    def answer(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Answer one HTTP event."""
        try:
            self._admit(event)
        except Exception as error:  # noqa: BLE001 - a caller gets a problem document, whatever went wrong
            return event_answer_of(problem_of(error))
        return self.resolve(event, context)

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

    def _admit(self, event: Mapping[str, Any]) -> None:
        headers = edge.headers_of(event)
        if not edge.came_through(headers):
            raise NotAllowed("This address is not for callers; use the address of the service.")
        method, path = event["requestContext"]["http"]["method"], event["rawPath"]
        content_type = headers.get("content-type", "application/json").strip().lower()
        if method in _BODY_METHODS and event.get("body") and not content_type.startswith("application/json"):
            raise UnsupportedMediaType("Send JSON, with the header `Content-Type: application/json`.")
        if self._public is None or f"{method} {path}" in self._public:
            return
        # Before the route: whoever is not known learns nothing about the body or the path.
        self.context["operator"] = authentication.operator_of(headers.get("authorization"), _source_ip_of(event))


def answer_with(status: HTTPStatus, document: T, *, location: str | None = None) -> Response[T]:
    """Answer with a document, and with its location."""
    headers = {"Location": location} if location else None
    return Response(status_code=status, content_type="application/json", body=document, headers=headers)


def accepted(document: T, location: str) -> Response[T]:
    """Answer 202: the request is committed, and `location` shows its state."""
    return answer_with(HTTPStatus.ACCEPTED, document, location=location)


def no_content() -> Response[None]:
    """Answer 204."""
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _source_ip_of(event: Mapping[str, Any]) -> str:
    return edge.caller_address(edge.headers_of(event), event["requestContext"]["http"].get("sourceIp", ""))


def _refuse_unknown_parameters(api: Api, following: Callable[[Api], Response[Any]]) -> Response[Any]:
    """Refuse an unknown query parameter, like an unknown field of a body: a misspelt filter would list everything."""
    # Powertools puts the route there and has no other way to it.
    route = cast("Route | None", api.context.get("_route"))
    if route is not None:
        known = {parameter.alias for parameter in route.dependant.query_params}
        asked = api.current_event.resolved_query_string_parameters
        unknown = [{"at": f"query/{name}", "is": "Not a parameter of this path"} for name in sorted({*asked} - known)]
        if unknown:
            raise malformed(unknown)
    return following(api)


def _body(text: str | None) -> Any:
    if not text:
        raise InvalidRequest("The body is empty; this path needs JSON.")
    return loads_strict(text)
