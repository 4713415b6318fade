"""Common code of the HTTP API and of AWS's own APIs: reading a request's body, and refusing a request."""

import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name, or a subprotocol."""


class BodyTooLargeError(Exception):
    """A request's body is larger than its API allows."""


async def read_body(request: Request, limit: int) -> bytes:
    """Return a request's body; raise BodyTooLargeError if it has more than `limit` bytes."""
    body = await request.body()
    if max(len(body), request.scope.get("body_size", 0)) > limit:  # the server does not keep all of a large one
        raise BodyTooLargeError
    return body


def refusal(status: int, message: str, **more: str) -> Response:
    """Return an error in the form of API Gateway."""
    return JSONResponse({"message": message, **more}, status)
