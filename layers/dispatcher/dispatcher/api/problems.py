"""Errors as problem documents (RFC 9457)."""

from typing import Any

import psycopg
from aws_lambda_powertools.event_handler import Response

from dispatcher.errors import DispatcherError, InvalidRequest, Unavailable, Unprocessable
from dispatcher.platform import correlation
from dispatcher.platform.database import INTERRUPTIONS, UNREACHABLE
from dispatcher.platform.json_text import dumps
from dispatcher.platform.observability import logger

CONTENT_TYPE = "application/problem+json"
MOST_ERRORS = 20
"""Errors that one answer names."""
MOST_QUOTED = 64
"""Characters of the caller's own words that an answer repeats."""
_UNEXPECTED = "Something went wrong in the service; the log has the details."


def problem_of(error: Exception) -> Response[str]:
    """Turn an error into its answer.  The caller sees only a DispatcherError; other errors are logged."""
    match error:
        case DispatcherError():
            known = error
        case psycopg.DataError():
            known = InvalidRequest("The request holds a value that cannot be stored.")
        case _ if isinstance(error, INTERRUPTIONS):
            logger.exception("Database unavailable")
            known = Unavailable(UNREACHABLE)
        case _:
            logger.exception("Unexpected error")
            known = DispatcherError(_UNEXPECTED)
    return Response(
        status_code=known.status,
        content_type=CONTENT_TYPE,
        body=dumps({**known.as_problem(), "correlationId": correlation.current()}),
        headers=dict(known.headers),
    )


def malformed(errors: list[dict[str, str]]) -> Unprocessable:
    """Make the error for a request that does not fit its schema; each of `errors` is {"at": …, "is": …}."""
    first = errors[0]
    more = f" ({len(errors) - 1} more in `errors`)" if len(errors) > 1 else ""
    if len(errors) > MOST_ERRORS:
        more = f" ({len(errors) - 1} more, the first {MOST_ERRORS - 1} in `errors`)"
    return Unprocessable(f"{first['at']}: {first['is']}{more}.", errors=errors[:MOST_ERRORS])


def place(error: dict[str, Any]) -> dict[str, str]:
    """Name the place of a validation error, and what is wrong there."""
    at = "/".join(_short(str(part)) for part in error["loc"])
    if error["type"] == "missing":
        return {"at": at, "is": "It is missing" if at != "body" else "It is empty; this path needs JSON"}
    return {"at": at, "is": _short(error["msg"].removeprefix("Value error, "), 4 * MOST_QUOTED)}


def _short(text: str, most: int = MOST_QUOTED) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
