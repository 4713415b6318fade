"""ASGI's shapes, a request as a value, and plain answers."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_LEADING_SLASHES = re.compile(r"^/+")


class BodyTooLargeError(Exception):
    """A request's body is larger than the limit of what it is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asked: the path still percent-encoded, header names as the client (HTTP: the server) wrote them."""

    method: str
    raw_path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    source_ip: str
    port: int
    protocol: str

    @classmethod
    def of(cls, scope: Scope) -> Request:
        """Read the request; repeated slashes at the path's start count as one, since agents append paths to a `/`."""
        client, server = scope.get("client"), scope.get("server")
        return cls(
            method=scope.get("method", "GET"),
            raw_path=_LEADING_SLASHES.sub("/", scope["raw_path"].decode("latin-1")),
            query=scope["query_string"].decode("latin-1"),
            headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
            source_ip=client[0] if client else "127.0.0.1",
            port=(server[1] or 0) if server else 0,
            protocol=f"HTTP/{scope['http_version']}",
        )

    @property
    def path(self) -> str:
        """The path, decoded."""
        return unquote(self.raw_path)

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The query's parameters, in order, decoded."""
        return parse_qsl(self.query, keep_blank_values=True)

    def header(self, name: str) -> str:
        """Return a header's value, the first one if there are several, "" if there is none; case does not matter."""
        return next((value for key, value in self.headers if key.lower() == name), "")


async def read_body(receive: Receive, limit: int) -> bytes:
    """Read a request's body; one that is too large is read to its end, so that the client can read the refusal."""
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            parts.append(part)
        more = message.get("more_body", False)
    if size > limit:
        raise BodyTooLargeError
    return b"".join(parts)


async def respond(
    send: Send, status: int, body: bytes, headers: Iterable[tuple[str, str]] = (), *, prefix: str = "http"
) -> None:
    """Answer a request; with the prefix `websocket.http`, refuse a handshake."""
    length = [] if status in (204, 304) else [(b"content-length", str(len(body)).encode())]
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": f"{prefix}.response.start", "status": status, "headers": encoded + length})
    await send({"type": f"{prefix}.response.body", "body": body})


async def respond_json(
    send: Send, status: int, value: object, headers: Iterable[tuple[str, str]] = (), *, prefix: str = "http"
) -> None:
    """Answer with a JSON document."""
    body = json.dumps(value).encode()
    await respond(send, status, body, [("content-type", "application/json"), *headers], prefix=prefix)
