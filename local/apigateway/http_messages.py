"""Requests and responses as this server's APIs see them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name, or a subprotocol."""
OWN_HEADERS = frozenset({"connection", "content-length", "date", "keep-alive", "transfer-encoding", "upgrade"})
"""Headers of an answer that only the server writes."""


class BodyTooLargeError(Exception):
    """A request's body is larger than its API allows."""


@dataclass(slots=True, kw_only=True)
class Request:
    """A request whose body is complete; not frozen, because that would double the time to make one."""

    method: str
    path: str
    """Decoded."""
    raw_path: str
    """As it was sent, without repeated slashes at its beginning."""
    query: str
    """As it was sent."""
    version: str
    headers: Sequence[tuple[str, str]]
    """In their order, with lower-case names."""
    fields: Mapping[str, str]
    """The headers by name; the values of repeated ones are joined by commas."""
    body: bytes
    body_size: int
    """What the client sent, in bytes: the server does not keep all of a large body."""
    client: str
    """The client's address."""
    port: int
    """The port that the client reached."""
    is_handshake: bool = False

    def header(self, name: str, otherwise: str = "") -> str:
        """Return a header by its name, which is lower-case."""
        return self.fields.get(name, otherwise)

    def body_within(self, limit: int) -> bytes:
        """Return the body; raise BodyTooLargeError if it has more than `limit` bytes."""
        if self.body_size > limit:
            raise BodyTooLargeError
        return self.body


@dataclass(slots=True, kw_only=True)
class Response:
    """An answer; the server adds the date, the length of the body, and what becomes of the connection."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    body: bytes = b""


def joined(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return headers by name, the values of repeated ones joined by commas."""
    fields = dict(headers)
    if len(fields) < len(headers):
        fields = {}
        for name, value in headers:
            fields[name] = f"{fields[name]},{value}" if name in fields else value
    return fields


def json_response(document: object, status: int = 200, media_type: str = "application/json") -> Response:
    """Return an answer with a JSON document."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status=status, headers=[("content-type", media_type)], body=body)


def refusal(status: int, message: str, **more: str) -> Response:
    """Return an error in the form of API Gateway."""
    return json_response({"message": message, **more}, status)
