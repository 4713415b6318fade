"""The events of API Gateway and EventBridge Scheduler, as functions get them."""

from __future__ import annotations

import base64
import secrets
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.apigateway.http_messages import Request
    from local.sam_template.resources import HttpRoute, Schedule

API_ID = "local"

# Others checked this on AWS: only these bodies arrive as text, all others as base64, also forms and bodies without a type.
_TEXT_TYPES = ("application/json", "application/xml", "application/javascript")


_ID_BYTES, _IDS = 11, 128
_ids: list[str] = []
_trace_ids: list[str] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The region, account and domain in events."""

    region: str
    account: str
    domain: str


def request_id() -> str:
    """Return an id as API Gateway makes them for requests and connections: 16 characters, 88 random bits."""
    if not _ids:  # many at once: a call of the kernel costs more than an id
        data = secrets.token_bytes(_ID_BYTES * _IDS)
        parts = (data[start : start + _ID_BYTES] for start in range(0, len(data), _ID_BYTES))
        _ids.extend(base64.urlsafe_b64encode(part).decode() for part in parts)
    return _ids.pop()


def _trace_id() -> str:
    if not _trace_ids:
        digits = secrets.token_hex(12 * _IDS)
        _trace_ids.extend(digits[start : start + 24] for start in range(0, len(digits), 24))
    return _trace_ids.pop()


def http_event(
    request: Request, route: HttpRoute, path_parameters: Mapping[str, str], place: Place, identity: str
) -> dict[str, Any]:
    """Return the common fields of an HTTP API's event of payload format 2.0 and of its authorizer's event."""
    now = time.time()
    headers = dict(request.fields)
    for name, value in _forwarded(request):
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    cookies: list[str] = []
    if headers.pop("cookie", None) is not None:
        cookies = [each for name, value in request.headers if name == "cookie" for each in value.split("; ")]
    query: dict[str, str] = {}
    for name, value in _parameters(request):
        query[name] = f"{query[name]},{value}" if name in query else value
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route.key,
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": {
            "accountId": place.account,
            "apiId": API_ID,
            "domainName": place.domain,
            "domainPrefix": place.domain.split(".")[0],
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": f"HTTP/{request.version}",
                "sourceIp": request.client,
                "userAgent": request.header("user-agent"),
            },
            "requestId": identity,
            "routeKey": route.key,
            "stage": "$default",
            "time": _clf_of(int(now)),
            "timeEpoch": int(now * 1000),
        },
    }
    if cookies:
        event["cookies"] = cookies
    if query:
        event["queryStringParameters"] = query
    if path_parameters:
        event["pathParameters"] = dict(path_parameters)
    return event


def http_authorizer_event(event: Mapping[str, Any], route_arn: str, sources: list[str] | None) -> dict[str, Any]:
    """Return the event of a REQUEST authorizer of payload format 2.0."""
    return {**event, "type": "REQUEST", "routeArn": route_arn, "identitySource": sources}


def http_body(request: Request, body: bytes) -> dict[str, Any]:
    """Return the body's fields of the event: as text if its type is text, else as base64."""
    if not body:
        return {"isBase64Encoded": False}
    kind = request.header("content-type").partition(";")[0].strip().lower()
    if kind.startswith("text/") or kind in _TEXT_TYPES:
        try:
            return {"body": body.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass
    return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketFacts:
    """The constant fields in all events of one WebSocket connection."""

    connection_id: str
    connected_at: datetime
    source_ip: str
    user_agent: str
    stage: str
    place: Place


def socket_context(
    facts: SocketFacts, event_type: str, route_key: str, authorizer: Mapping[str, str] | None, **more: object
) -> dict[str, Any]:
    """Return the requestContext of a WebSocket event."""
    now = datetime.now(UTC)
    identity = {"sourceIp": facts.source_ip}
    if facts.user_agent:
        identity["userAgent"] = facts.user_agent
    request = request_id()
    context: dict[str, Any] = {
        "routeKey": route_key,
        "eventType": event_type,
        "extendedRequestId": request,
        "requestTime": _clf(now),
        "messageDirection": "IN",
        "stage": facts.stage,
        "connectedAt": _milliseconds(facts.connected_at),
        "requestTimeEpoch": _milliseconds(now),
        "identity": identity,
        "requestId": request,
        "domainName": facts.place.domain,
        "connectionId": facts.connection_id,
        "apiId": API_ID,
        **more,
    }
    if authorizer is not None:
        context["authorizer"] = dict(authorizer)
    return context


def connect_event(request: Request, context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `$connect` event.

    API Gateway keeps the case of header names; the server lower-cases them, so they get the case that clients send.
    """
    headers: dict[str, list[str]] = {}
    for name, value in (*request.headers, *_forwarded(request)):
        headers.setdefault(name.title().replace("Websocket", "WebSocket"), []).append(value)
    query: dict[str, list[str]] = {}
    for name, value in _parameters(request):
        query.setdefault(name, []).append(value)
    event: dict[str, Any] = {
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "requestContext": dict(context),
        "isBase64Encoded": False,
    }
    if query:
        event["queryStringParameters"] = {name: values[-1] for name, values in query.items()}
        event["multiValueQueryStringParameters"] = query
    return event


def socket_authorizer_event(event: Mapping[str, Any], method_arn: str) -> dict[str, Any]:
    """Return the event of the REQUEST authorizer of `$connect`."""
    return {"type": "REQUEST", "methodArn": method_arn, **event, "stageVariables": {}}


def message_beginning(facts: SocketFacts, route_key: str, authorizer: Mapping[str, str] | None) -> bytes:
    """Return the constant beginning of the events of a connection's messages, as JSON."""
    context = socket_context(facts, "MESSAGE", route_key, authorizer)
    for changing in ("extendedRequestId", "requestId", "requestTime", "requestTimeEpoch"):
        del context[changing]
    return b'{"requestContext":' + orjson.dumps(context).removesuffix(b"}")


def encoded_message(beginning: bytes, data: str | bytes, identity: str) -> bytes:
    """Return the event of a message as JSON; a binary one is base64."""
    now = time.time()
    binary = isinstance(data, bytes)
    changing = (
        f',"requestTime":"{_clf_of(int(now))}","requestTimeEpoch":{int(now * 1000)},"requestId":"{identity}"'
        f',"extendedRequestId":"{identity}","messageId":"{identity}"}},"isBase64Encoded":{"true" if binary else "false"}'
    )
    body = orjson.dumps(base64.b64encode(data).decode() if isinstance(data, bytes) else data)
    return b'%b%b,"body":%b}' % (beginning, changing.encode(), body)


def disconnect_event(place: Place, context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `$disconnect` event."""
    headers = {"Host": place.domain, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": ""}
    return {
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "requestContext": dict(context),
        "isBase64Encoded": False,
    }


def schedule_event(schedule: Schedule, place: Place) -> dict[str, Any]:
    """Return a schedule's event: its own input, or the scheduler's default one."""
    if schedule.input is not None:
        return schedule.input
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": place.account,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": place.region,
        "resources": [f"arn:aws:scheduler:{place.region}:{place.account}:schedule/default/{schedule.function}"],
        "detail": "{}",
    }


def _forwarded(request: Request) -> list[tuple[str, str]]:
    return [
        ("x-amzn-trace-id", f"Root=1-{int(time.time()):08x}-{_trace_id()}"),
        ("x-forwarded-for", request.client),
        ("x-forwarded-port", str(request.port)),
        ("x-forwarded-proto", "http"),
    ]


def _parameters(request: Request) -> list[tuple[str, str]]:
    return parse_qsl(request.query, keep_blank_values=True) if request.query else []


def _clf(moment: datetime) -> str:
    return _clf_of(int(moment.timestamp()))


@lru_cache(maxsize=2)  # many events in one second
def _clf_of(second: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
