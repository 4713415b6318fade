"""The functions behind the conformance tests: each reports its event through the gateway itself.

So the same tests run against AWS: an HTTP function returns its event, a WebSocket function posts it to the connection
that it came from, `$disconnect` posts it to the connection of a watcher.  Each also logs its event, for the tests of the
local gateway.
"""

import json
import os
import time
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

Event = dict[str, Any]
ONCE = Config(retries={"total_max_attempts": 1})
LONG = 1000  # characters: a report contains a body up to this length, and only the length of a longer one


def logged(handler: Callable[[Event], Any]) -> Callable[[Event, object], Any]:
    """Log each event before it is handled."""

    @wraps(handler)
    def handle(event: Event, context: object) -> Any:
        del context
        print(json.dumps(_shortened(event)), flush=True)  # noqa: T201 - to the log
        return handler(event)

    return handle


@logged
def http(event: Event) -> Any:
    """Echo, answer as the request demands, or fail."""
    if event["rawPath"] == "/answer":
        return json.loads(event["body"])
    if event["rawPath"] == "/raise":
        raise ValueError("a secret")
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}


@logged
def guard(event: Event) -> Event:
    """Allow or deny as the header says, in the simple form."""
    answers: dict[str, Event] = {
        "yes": {"isAuthorized": True, "context": {"role": "operator", "level": 3, "asked": event["routeKey"]}},
        "no": {"isAuthorized": False},
    }
    return answers[event["headers"]["x-key"]]


@logged
def authorize(event: Event) -> Event:
    """Allow or deny agents by their names, and pass the authorizer's event on to later events."""
    query: dict[str, str] = event["queryStringParameters"]
    agent = query["agent_id"]
    if agent == "unauthorized":
        raise Exception("Unauthorized")  # noqa: TRY002 - what API Gateway answers with 401
    if agent == "broken":
        return {"principalId": agent}
    effect = "Deny" if agent == "denied" else "Allow"
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": event["methodArn"]}
    told: Event = {
        "agent": agent,
        "number": 7,
        "flag": True,
        "watcher": query.get("watcher", ""),
        "type": event["type"],
        "methodArn": event["methodArn"],
    }
    return {
        "principalId": agent,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": told,
    }


@logged
def connect(event: Event) -> Event:
    """Have the event reported as soon as the connection exists, and accept or refuse it as the client demands."""
    wish = event["queryStringParameters"].get("wish")
    if wish == "raise":
        raise ValueError("no")
    if wish == "refuse":
        return {"statusCode": 418}
    if wish == "slow":
        time.sleep(0.5)
    outcomes = _too_early(event) if wish == "post" else {}
    report = {"function": "Connect", "event": event, "outcomes": outcomes}
    _lambda().invoke(FunctionName=os.environ["LATER"], InvocationType="Event", Payload=json.dumps(report).encode())
    headers = {"Sec-WebSocket-Protocol": "second"} if wish == "subprotocol" else {}
    return {"statusCode": 200, "headers": headers}


@logged
def later(event: Event) -> Event:
    """Post a report to the connection that it is about, once it exists."""
    if event.get("fail"):
        raise ValueError("a secret")
    if "event" not in event:
        return {"given": event}
    deadline = time.monotonic() + 15
    while True:
        try:
            _post(event["event"], event)
        except ClientError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return {"statusCode": 200}


@logged
def message(event: Event) -> Event:
    """Report the event; fail, wait or answer as the message demands."""
    return _reported("Message", event)


@logged
def special(event: Event) -> Event:
    """Report the event of the named route."""
    return _reported("Special", event)


@logged
def disconnect(event: Event) -> Event:
    """Report the event to the connection's watcher, and whether the connection could still be posted to."""
    if watcher := event["requestContext"].get("authorizer", {}).get("watcher"):
        _post(event, {"function": "Disconnect", "event": event, "outcomes": _too_early(event)}, to=watcher)
    return {"statusCode": 200}


def _reported(function: str, event: Event) -> Event:
    body: str = event.get("body") or ""
    if body == "raise":
        raise ValueError("no")
    if body == "slow":
        time.sleep(0.5)
    if body == "answer":
        return {"statusCode": 200, "body": "an answer"}
    _post(event, {"function": function, "event": _shortened(event)})
    return {"statusCode": 200}


def _shortened(event: Event) -> Event:
    body: str = event.get("body") or ""
    return event if len(body) < LONG else {**event, "body": len(body)}


def _too_early(event: Event) -> dict[str, int]:
    """Return the status of each call about a connection that does not exist yet; 200 if it exists."""
    client, identity = _connections(event), event["requestContext"]["connectionId"]
    calls: dict[str, Any] = {
        "post": lambda: client.post_to_connection(ConnectionId=identity, Data=b"too early"),
        "get": lambda: client.get_connection(ConnectionId=identity),
        "delete": lambda: client.delete_connection(ConnectionId=identity),
    }
    outcomes: dict[str, int] = {}
    for name, call in calls.items():
        try:
            call()
            outcomes[name] = 200
        except ClientError as error:
            outcomes[name] = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return outcomes


def _post(event: Event, report: Event, *, to: str = "") -> None:
    identity = to or event["requestContext"]["connectionId"]
    _connections(event).post_to_connection(ConnectionId=identity, Data=json.dumps(report).encode())


def _connections(event: Event) -> Any:
    about = event["requestContext"]
    emulated = os.environ.get("GATEWAY")
    url = f"{emulated}/{about['apiId']}" if emulated else f"https://{about['domainName']}"
    return _management(f"{url}/{about['stage']}")


@cache
def _management(url: str) -> Any:
    return boto3.client("apigatewaymanagementapi", endpoint_url=url, config=ONCE)


@cache
def _lambda() -> Any:
    return boto3.client("lambda")
