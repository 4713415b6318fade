"""Common code of the HTTP API and of AWS's own APIs: reading a request's body, and refusing a request."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class BodyTooLargeError(Exception):
    """A request's body is larger than its API allows."""


async def read_body(request: Request, limit: int) -> bytes:
    """Read a request's body; one that is too large is read to its end, so that the client can read the refusal.

    Raises BodyTooLargeError for more than `limit` bytes, and starlette's ClientDisconnect.
    """
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            parts.append(part)
    if size > limit:
        raise BodyTooLargeError
    return b"".join(parts)


def refusal(status: int, message: str, **more: str) -> Response:
    """Return an error in the form of API Gateway."""
    return JSONResponse({"message": message, **more}, status)
