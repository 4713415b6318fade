"""The HTTP border: who calls, what they send, and every error as a problem document (RFC 9457)."""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import psycopg
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.event_handler.openapi.params import Header
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.access.identity import Operator, Role
from dispatcher.errors import (
    DispatcherError,
    InvalidRequest,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Unavailable,
    Unprocessable,
    UnsupportedMediaType,
)
from dispatcher.platform import edge as front_door
from dispatcher.platform.database import INTERRUPTIONS, UNREACHABLE
from dispatcher.platform.json_text import loads_strict
from dispatcher.platform.observability import logger

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import Route

PROBLEM = "application/problem+json"
T = TypeVar("T")

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=256)]
"""The key under which a request may be sent again without being done again."""

_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


class Api(APIGatewayHttpResolver):
    """A resolver whose routes want an authenticated operator, unless they are named as public (None: all are).

    Bodies and parameters are validated by their annotations.  Whatever goes wrong comes back as a problem document, and only
    errors of ours (DispatcherError) say in their own words what it was.
    """

    def __init__(self, *, public: frozenset[str] | None = frozenset()) -> None:
        super().__init__(enable_validation=True, json_body_deserializer=_body)
        self._public = public
        if public is not None:
            self.use(middlewares=[_refuse_unknown_parameters])
        self.exception_handler(Exception)(problem_of)
        self.not_found(_not_found)

    def answer(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Answer one HTTP event."""
        try:
            self._admit(event)
        except DispatcherError as error:
            return _answer_of(problem_of(error))
        return self.resolve(event, context)

    @property
    def operator(self) -> Operator:
        """The operator who calls."""
        return cast("Operator", self.context["operator"])

    def operator_with(self, role: Role) -> Operator:
        """Return the operator who calls; raises NotAllowed for one of a lesser role."""
        self.operator.must_be(role)
        return self.operator

    def unlimited_admin(self) -> Operator:
        """Return the operator who calls; raises NotAllowed for one who is no admin, or limited to some agents."""
        operator = self.operator_with(Role.ADMIN)
        if operator.scope is not None:
            raise NotAllowed("This is not for operators who are limited to some agents.")
        return operator

    def _admit(self, event: Mapping[str, Any]) -> None:
        if not front_door.passed(event.get("headers", {})):
            raise NotAllowed("This address is not for callers; use the service's own.")
        method, path = event["requestContext"]["http"]["method"], event["rawPath"]
        content_type = event.get("headers", {}).get("content-type", "application/json")
        if (
            method in _BODY_METHODS
            and event.get("body")
            and not content_type.strip().lower().startswith("application/json")
        ):
            raise UnsupportedMediaType("Send JSON, with the header `Content-Type: application/json`.")
        if self._public is None or f"{method} {path}" in self._public:
            return
        self.context["operator"] = _operator_of(event)


def answer_with(status: HTTPStatus, document: T, *, location: str | None = None) -> Response[T]:
    """Answer with a document, and where to find it."""
    headers = {"Location": location} if location else None
    return Response(status_code=status, content_type="application/json", body=document, headers=headers)


def accepted(document: T, location: str) -> Response[T]:
    """Answer 202: it is committed, and `location` tells what becomes of it."""
    return answer_with(HTTPStatus.ACCEPTED, document, location=location)


def _operator_of(event: Mapping[str, Any]) -> Operator:
    """Read what the authorizer found out; it never denies, so that the refusal can be a problem document."""
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
        source_ip=source_ip_of(event),
    )


def source_ip_of(event: Mapping[str, Any]) -> str:
    """Return the address of who calls."""
    return front_door.caller(event.get("headers", {}), event["requestContext"]["http"].get("sourceIp", ""))


_OURS = "Something went wrong on our side; the log has it."


def problem_of(error: Exception) -> Response[str]:
    """Turn an error into its answer.  Only an error of ours speaks for itself; of any other only its kind is logged."""
    match error:
        case DispatcherError():
            known = error
        case RequestValidationError() if any(each["loc"][0] == "response" for each in error.errors()):
            logger.error("Answer without its form", extra={"errors": _places(error)})
            known = DispatcherError(_OURS)
        case RequestValidationError():
            known = _malformed(_places(error))
        case psycopg.DataError():
            known = InvalidRequest("The request holds a value that cannot be stored.")
        case _ if isinstance(error, INTERRUPTIONS):
            logger.exception("Database unavailable")
            known = Unavailable(UNREACHABLE)
        case UnicodeDecodeError():
            known = InvalidRequest("The body is not UTF-8.")
        case _:
            logger.exception("Unexpected error")
            known = DispatcherError(_OURS)
    return Response(
        status_code=known.status,
        content_type=PROBLEM,
        body=json.dumps(known.as_problem()),
        headers=dict(known.headers),
    )


def _refuse_unknown_parameters(api: Api, following: Callable[[Api], Response[Any]]) -> Response[Any]:
    """Refuse a misspelt filter, as a misspelt member of a body is: ignored, it would answer with all there is."""
    route = cast("Route | None", api.context.get("_route"))
    if route is not None:
        known = {parameter.alias for parameter in route.dependant.query_params}
        asked = api.current_event.resolved_query_string_parameters
        unknown = [{"at": f"query/{name}", "is": "Not a parameter of this path"} for name in sorted({*asked} - known)]
        if unknown:
            raise _malformed(unknown)
    return following(api)


def _malformed(errors: list[dict[str, str]]) -> Unprocessable:
    first = errors[0]
    more = f" ({len(errors) - 1} more in `errors`)" if len(errors) > 1 else ""
    return Unprocessable(f"{first['at']}: {first['is']}{more}.", errors=errors)


def _places(error: RequestValidationError) -> list[dict[str, str]]:
    return [{"at": "/".join(str(part) for part in each["loc"]), "is": each["msg"]} for each in error.errors()]


def _not_found(error: NotFoundError) -> Response[str]:
    del error
    return problem_of(NotFound("There is nothing at this path."))


def _body(text: str | None) -> Any:
    if not text:
        raise InvalidRequest("The body is empty; this path wants JSON.")
    return loads_strict(text)


def _answer_of(response: Response[str]) -> dict[str, Any]:
    headers = {"Content-Type": PROBLEM, **{name: str(value) for name, value in response.headers.items()}}
    return {"statusCode": response.status_code, "headers": headers, "body": response.body, "isBase64Encoded": False}
