"""The functions behind the conformance tests: each tells what it was given, over the gateway itself.

Nothing but the gateway is between them and the tests, so that the same tests run against AWS: an HTTP function echoes
its event, a WebSocket function posts it to the socket that it came from, `$disconnect` to the socket of a watcher.
"""

import json
import os
import time
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

Event = dict[str, Any]
ONCE = Config(retries={"total_max_attempts": 1})
LONG = 1000  # characters of a body that a report repeats; of a longer one it tells the length


def http(event: Event, context: object) -> Any:
    """Echo, answer as the caller says, or fail."""
    del context
    if event["rawPath"] == "/answer":
        return json.loads(event["body"])
    if event["rawPath"] == "/raise":
        raise ValueError("a secret")
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}


def guard(event: Event, context: object) -> Event:
    """Allow whom the header says, in the simple form."""
    del context
    answers: dict[str, Event] = {
        "yes": {"isAuthorized": True, "context": {"role": "operator", "level": 3, "asked": event["routeKey"]}},
        "no": {"isAuthorized": False},
    }
    return answers[event["headers"]["x-key"]]


def authorize(event: Event, context: object) -> Event:
    """Allow agents by their names, and tell later events what it was asked."""
    del context
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


def connect(event: Event, context: object) -> Event:
    """Have the event reported as soon as the connection is there, and accept or refuse it as the client wishes."""
    del context
    wish = event["queryStringParameters"].get("wish")
    if wish == "raise":
        raise ValueError("no")
    if wish == "refuse":
        return {"statusCode": 418}
    outcomes = _too_early(event) if wish == "post" else {}
    report = {"function": "Connect", "event": event, "outcomes": outcomes}
    _lambda().invoke(FunctionName=os.environ["LATER"], InvocationType="Event", Payload=json.dumps(report).encode())
    headers = {"Sec-WebSocket-Protocol": "second"} if wish == "subprotocol" else {}
    return {"statusCode": 200, "headers": headers}


def later(event: Event, context: object) -> Event:
    """Post a report to the connection that it is about, once that is there."""
    del context
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


def message(event: Event, context: object) -> Event:
    """Report the event; fail, wait or answer as the message says."""
    del context
    return _reported("Message", event)


def special(event: Event, context: object) -> Event:
    """Report the event of the route that has a name."""
    del context
    return _reported("Special", event)


def disconnect(event: Event, context: object) -> Event:
    """Report the event to the connection's watcher, and whether the connection could still be posted to."""
    del context
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
    told = event if len(body) < LONG else {**event, "body": len(body)}
    _post(event, {"function": function, "event": told})
    return {"statusCode": 200}


def _too_early(event: Event) -> dict[str, int]:
    """Return the status of each call about a connection that is not there, 200 where it is."""
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
