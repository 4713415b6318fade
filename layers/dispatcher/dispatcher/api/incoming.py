"""A request as the functions want it: a path that exists, a method that it has, a body of JSON that is not too large."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from dispatcher.api import paths
from dispatcher.errors import (
    BodyTooLarge,
    InvalidRequest,
    MethodNotAllowed,
    NotAllowed,
    NotFound,
    UnsupportedMediaType,
    UpgradeRequired,
)
from dispatcher.platform import edge

CONNECT = "/api/v1/agents/connect"
BODY_BYTES = {
    "/api/v1/auth/login": 4 * 1024,
    "/api/v1/auth/session": 4 * 1024,
    "/api/v1/auth/provider": 8 * 1024,
    "/api/v1/agents/{agent_id}/commands": 256 * 1024,
    "/api/v1/commands": 6 * 1024 * 1024,  # what a function may get
    "/api/v1/sessions": 128 * 1024,  # with a manifest, which is measured without its spaces
    "/api/v1/templates/{name}": 128 * 1024,
}
"""The largest body of each path; ORDINARY_BODY_BYTES for the others."""
ORDINARY_BODY_BYTES = 64 * 1024
PATH_CHARACTERS = 2048
"""Far longer than every id; an answer quotes the id."""
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A request: the event with its body as text, and what its path means."""

    event: Mapping[str, Any]
    headers: Mapping[str, str]
    method: str
    """GET for HEAD."""
    template: str
    parameters: Mapping[str, str]


def method_of(event: Mapping[str, Any]) -> str:
    """Return the method of an HTTP event."""
    method: str = event["requestContext"]["http"]["method"]
    return method.upper()


def admit(event: dict[str, Any], headers: Mapping[str, str]) -> Incoming:
    """Find out what a request means, and read its body; `headers` have lower-case names.

    Raises NotAllowed, NotFound, MethodNotAllowed, UpgradeRequired, UnsupportedMediaType, BodyTooLarge and InvalidRequest.
    """
    if not edge.came_through(headers):
        raise NotAllowed("This address is not for callers; use the address of the service.")
    path, method = _path_of(event), method_of(event)
    if path == CONNECT:
        raise UpgradeRequired(
            "Agents connect here with a WebSocket: send `Connection: Upgrade`, `Upgrade: websocket` and X-Agent-Api-Key."
        )
    template = _template_of(path, method)
    if event.get("body"):
        has_body = method in _BODY_METHODS
        if has_body:
            _require_json(headers.get("content-type"), patches=method == "PATCH")
        text = _text_of(event, BODY_BYTES.get(template, ORDINARY_BODY_BYTES)) if has_body else None
        event = event | {"body": text, "isBase64Encoded": False}
    names = zip(template.split("/"), path.split("/"), strict=True) if "{" in template else ()
    return Incoming(
        event=event,
        headers=headers,
        method="GET" if method == "HEAD" else method,
        template=template,
        parameters={name[1:-1]: segment for name, segment in names if name.startswith("{")},
    )


def _path_of(event: Mapping[str, Any]) -> str:
    path: str = event["rawPath"]
    if len(path) > PATH_CHARACTERS:
        raise NotFound("There is nothing at a path of this length.")
    return unquote(path) if "%" in path else path


def _template_of(path: str, method: str) -> str:
    known = paths.of_service()
    found = known.find(path)
    if found is None:
        shorter = path.rstrip("/")
        hint = f"; {shorter} is without the slash at its end" if known.find(shorter) else ""
        raise NotFound(f"There is nothing at this path{hint}.")
    if method not in found.methods and not (method == "HEAD" and "GET" in found.methods):
        raise MethodNotAllowed(f"This path has no {method[:16]}; it has {found.allow}.", allow=found.allow)
    return found.template


def _require_json(content_type: str | None, *, patches: bool) -> None:
    media_type, _, parameters = (content_type or "application/json").partition(";")
    is_patch = patches and media_type.strip().lower() == "application/merge-patch+json"
    if not is_patch and media_type.strip().lower() != "application/json":
        raise UnsupportedMediaType("Send JSON, with the header `Content-Type: application/json`.")
    for parameter in parameters.lower().split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip(' "') not in {"utf-8", "utf8"}:
            raise UnsupportedMediaType("Send JSON in UTF-8, the only encoding that it has.")


def _text_of(event: Mapping[str, Any], limit: int) -> str:
    """Return the body as text, without a byte order mark; it is measured before it is decoded."""
    body: str = event["body"]
    encoded = bool(event.get("isBase64Encoded"))
    size = len(body) * 3 // 4 - body.count("=", -2) if encoded else len(body) if body.isascii() else _size_of(body)
    if size > limit:
        raise BodyTooLarge(f"The body has {size:,} bytes; this path takes {limit:,} at most.", bytes=size, limit=limit)
    if encoded:
        try:
            body = base64.b64decode(body, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise InvalidRequest("The body is not UTF-8.") from None
    return body.removeprefix("\ufeff")


def _size_of(body: str) -> int:
    try:
        return len(body.encode())
    except UnicodeEncodeError:
        raise InvalidRequest("The body is not UTF-8.") from None
