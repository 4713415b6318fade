"""Errors as problem documents (RFC 9457)."""

import json
from typing import Any

import psycopg
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError

from dispatcher.errors import DispatcherError, InvalidRequest, NotFound, Unavailable, Unprocessable
from dispatcher.platform.database import INTERRUPTIONS, UNREACHABLE
from dispatcher.platform.observability import logger

CONTENT_TYPE = "application/problem+json"
_UNEXPECTED = "Something went wrong in the service; the log has the details."


def problem_of(error: Exception) -> Response[str]:
    """Turn an error into its answer.  The caller sees only a DispatcherError; other errors are logged."""
    match error:
        case DispatcherError():
            known = error
        case RequestValidationError() if any(each["loc"][0] == "response" for each in error.errors()):
            logger.error("Answer does not fit its schema", extra={"errors": _places(error)})
            known = DispatcherError(_UNEXPECTED)
        case RequestValidationError():
            known = malformed(_places(error))
        case psycopg.DataError():
            known = InvalidRequest("The request holds a value that cannot be stored.")
        case _ if isinstance(error, INTERRUPTIONS):
            logger.exception("Database unavailable")
            known = Unavailable(UNREACHABLE)
        case UnicodeDecodeError():
            known = InvalidRequest("The body is not UTF-8.")
        case _:
            logger.exception("Unexpected error")
            known = DispatcherError(_UNEXPECTED)
    return Response(
        status_code=known.status,
        content_type=CONTENT_TYPE,
        body=json.dumps(known.as_problem()),
        headers=dict(known.headers),
    )


def event_answer_of(response: Response[str]) -> dict[str, Any]:
    """Turn a problem's response into the answer of a function without a resolver."""
    headers = {"Content-Type": CONTENT_TYPE, **{name: str(value) for name, value in response.headers.items()}}
    return {"statusCode": response.status_code, "headers": headers, "body": response.body, "isBase64Encoded": False}


def malformed(errors: list[dict[str, str]]) -> Unprocessable:
    """Make the error for a request that does not fit its schema; each of `errors` is {"at": …, "is": …}."""
    first = errors[0]
    more = f" ({len(errors) - 1} more in `errors`)" if len(errors) > 1 else ""
    return Unprocessable(f"{first['at']}: {first['is']}{more}.", errors=errors)


def not_found(error: NotFoundError) -> Response[str]:
    """Answer for a path that has no route."""
    del error
    return problem_of(NotFound("There is nothing at this path."))


def _places(error: RequestValidationError) -> list[dict[str, str]]:
    return [{"at": "/".join(str(part) for part in each["loc"]), "is": each["msg"]} for each in error.errors()]
