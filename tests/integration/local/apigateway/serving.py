"""A gateway of the tests' own: a small template, small functions, real sockets, real boto3 clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import uvloop
from botocore.config import Config
from websockets.exceptions import ConnectionClosed

from local.apigateway.listener import Gateway
from local.lambda_runtime.runtime import Runtime
from local.sam_template.resources import Deployment

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from types_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from types_boto3_lambda import LambdaClient
    from websockets.sync.client import ClientConnection

    from local.apigateway.fault_injection import Faults

TEMPLATE = """
Parameters:
  Record: {Type: String}
  Url: {Type: String}
Globals:
  Function:
    CodeUri: functions
    Timeout: 10
    Environment:
      Variables: {RECORD: !Ref Record, URL: !Ref Url}
Resources:
  Http:
    Type: AWS::Serverless::Function
    Properties: {Handler: app.http}
  Guard:
    Type: AWS::Serverless::Function
    Properties: {Handler: app.guard}
  Authorize:
    Type: AWS::Serverless::Function
    Properties: {Handler: app.authorize}
  Connect:
    Type: AWS::Serverless::Function
    Properties: {Handler: app.connect}
  Message:
    Type: AWS::Serverless::Function
    Properties: {Handler: app.message}
  Special:
    Type: AWS::Serverless::Function
    Properties: {Handler: app.special}
  Disconnect:
    Type: AWS::Serverless::Function
    Properties: {Handler: app.disconnect}
  Flaky:
    Type: AWS::Serverless::Function
    Properties: {Handler: app.flaky}
  Tick:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.tick
      Events:
        Often: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 minute)}}
  Api:
    Type: AWS::ApiGatewayV2::Api
    Properties: {ProtocolType: HTTP}
  Integration:
    Type: AWS::ApiGatewayV2::Integration
    Properties: {ApiId: !Ref Api, IntegrationType: AWS_PROXY, PayloadFormatVersion: "2.0", IntegrationUri: !GetAtt Http.Arn}
  Authorizer:
    Type: AWS::ApiGatewayV2::Authorizer
    Properties: &authorizer
      ApiId: !Ref Api
      AuthorizerType: REQUEST
      EnableSimpleResponses: true
      AuthorizerUri: !Sub arn:aws:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${Guard.Arn}/invocations
  KeyAuthorizer:
    Type: AWS::ApiGatewayV2::Authorizer
    Properties: {<<: *authorizer, IdentitySource: [$request.header.X-Key]}
  Exact:
    Type: AWS::ApiGatewayV2::Route
    Properties: &route {RouteKey: GET /pets/dog/1, Target: !Sub "integrations/${Integration}"}
  Variable:
    Type: AWS::ApiGatewayV2::Route
    Properties: {<<: *route, RouteKey: "GET /pets/dog/{id}"}
  Greedy:
    Type: AWS::ApiGatewayV2::Route
    Properties: {<<: *route, RouteKey: "GET /pets/{proxy+}"}
  GreedyAny:
    Type: AWS::ApiGatewayV2::Route
    Properties: {<<: *route, RouteKey: "ANY /pets/{proxy+}"}
  Nested:
    Type: AWS::ApiGatewayV2::Route
    Properties: {<<: *route, RouteKey: "POST /pets/{kind}/commands"}
  Guarded:
    Type: AWS::ApiGatewayV2::Route
    Properties: {<<: *route, RouteKey: ANY /guarded, AuthorizationType: CUSTOM, AuthorizerId: !Ref Authorizer}
  Keyed:
    Type: AWS::ApiGatewayV2::Route
    Properties: {<<: *route, RouteKey: ANY /keyed, AuthorizationType: CUSTOM, AuthorizerId: !Ref KeyAuthorizer}
  Default:
    Type: AWS::ApiGatewayV2::Route
    Properties: {<<: *route, RouteKey: $default}
  Sockets:
    Type: AWS::Serverless::WebSocketApi
    Properties:
      RouteSelectionExpression: $request.body.type
      StageName: live
      Auth: {AuthType: CUSTOM, AuthArn: !GetAtt Authorize.Arn, IdentitySource: [route.request.querystring.agent_id]}
      Routes:
        $connect: {FunctionArn: !GetAtt Connect.Arn}
        $default: {FunctionArn: !GetAtt Message.Arn}
        special: {FunctionArn: !GetAtt Special.Arn}
        $disconnect: {FunctionArn: !GetAtt Disconnect.Arn}
"""

FUNCTIONS = """
import json, os, time
import boto3
import pytest
from botocore.exceptions import ClientError


def record(function, event, **more):
    with open(os.environ["RECORD"], "a") as file:
        file.write(json.dumps({"function": function, "event": event, **more}) + "\\n")


def http(event, context):
    if event["rawPath"] == "/answer":
        return json.loads(event["body"])
    if event["rawPath"] == "/raise":
        raise ValueError("a secret")
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}


def guard(event, context):
    record("Guard", event)
    answers = {"yes": {"isAuthorized": True, "context": {"role": "operator", "level": 3}}, "no": {"isAuthorized": False}}
    return answers[event["headers"]["x-key"]]


def authorize(event, context):
    record("Authorize", event)
    agent = event["queryStringParameters"]["agent_id"]
    if agent == "unauthorized":
        raise Exception("Unauthorized")
    effect = "Deny" if agent == "denied" else "Allow"
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": event["methodArn"]}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    return {"principalId": agent, "policyDocument": policy, "context": {"agent": agent, "number": 7, "flag": True}}


def connect(event, context):
    wish = event["queryStringParameters"].get("wish")
    outcome = None
    if wish == "post":
        client = boto3.client("apigatewaymanagementapi", endpoint_url=os.environ["URL"])
        try:
            client.post_to_connection(ConnectionId=event["requestContext"]["connectionId"], Data=b"too early")
        except client.exceptions.GoneException as error:
            outcome = error.response["ResponseMetadata"]["HTTPStatusCode"]
    record("Connect", event, outcome=outcome)
    if wish == "raise":
        raise ValueError("no")
    if wish == "slow":
        time.sleep(0.3)
    return {"statusCode": 418 if wish == "refuse" else 200}


def message(event, context):
    record("Message", event)
    if event["body"] == "raise":
        raise ValueError("no")
    if event["body"] == "slow":
        time.sleep(0.5)
    return {"statusCode": 200, "body": "not for the client"}


def special(event, context):
    record("Special", event)
    return {"statusCode": 200}


def disconnect(event, context):
    record("Disconnect", event)
    return {"statusCode": 200}


def flaky(event, context):
    with open(os.environ["RECORD"]) as file:
        before = [1 for line in file if json.loads(line).get("event") == event]
    record("Flaky", event, request_id=context.aws_request_id)
    if len(before) < event["failures"]:
        raise ValueError("not yet")


def tick(event, context):
    record("Tick", event)
"""


@dataclass(kw_only=True)
class Served:
    """A running gateway, and the clients that talk to it."""

    url: str
    record: Path
    lines: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def client(self, suffix: str = "") -> ApiGatewayManagementApiClient:
        """Return a boto3 client of @connections."""
        return boto3.client("apigatewaymanagementapi", endpoint_url=self.url + suffix, **_ACCOUNT)

    def functions(self) -> LambdaClient:
        """Return a boto3 client of Lambda."""
        return boto3.client("lambda", endpoint_url=self.url, **_ACCOUNT)

    def socket_url(self, agent: str, path: str = "/live", **more: str) -> str:
        """Return where an agent connects."""
        query = "&".join(f"{name}={value}" for name, value in {"agent_id": agent, **more}.items())
        return f"{self.url.replace('http', 'ws')}{path}?{query}"

    def recorded(self, function: str, agent: str | None = None) -> list[dict[str, Any]]:
        """Return what a function was given so far, for one agent or for all."""
        lines = self.record.read_text(encoding="utf-8").splitlines() if self.record.exists() else []
        entries = [entry for entry in map(json.loads, lines) if entry["function"] == function]
        return [entry for entry in entries if agent is None or _agent(entry["event"]) == agent]

    def wait_for(self, function: str, agent: str | None = None, count: int = 1) -> list[dict[str, Any]]:
        """Wait until a function was given so many events."""
        deadline = time.monotonic() + 5
        while len(found := self.recorded(function, agent)) < count:
            assert time.monotonic() < deadline, f"{function} got {len(found)} of {count} events"
            time.sleep(0.01)
        return found

    def connection_id(self, agent: str) -> str:
        """Return the id of an agent's latest connection."""
        identity: str = self.wait_for("Connect", agent)[-1]["event"]["requestContext"]["connectionId"]
        return identity


_ACCOUNT: dict[str, Any] = {
    "region_name": "us-east-1",
    "aws_access_key_id": "a",
    "aws_secret_access_key": "b",
    "config": Config(retries={"total_max_attempts": 1}),  # a refusal is to be seen, not waited out
}


def _agent(event: dict[str, Any]) -> str | None:
    agent: str | None = event["requestContext"].get("authorizer", {}).get("agent")
    return agent


def overfill(client: ApiGatewayManagementApiClient, connection_id: str) -> None:
    """Post to an agent that does not read, until that fails."""
    for _ in range(500):
        client.post_to_connection(ConnectionId=connection_id, Data=b"x" * 131072)


def closing(agent: ClientConnection) -> tuple[int, str]:
    """Wait until the gateway closes an agent's socket; return its code and reason."""
    with pytest.raises(ConnectionClosed) as closed:
        agent.recv(timeout=5)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(
    folder: Path,
    *,
    faults: Faults | None = None,
    period: float = 60.0,
    idle_seconds: float = 600.0,
    lifetime_seconds: float = 7200.0,
) -> Generator[Served]:
    """Serve the tests' deployment in a thread, with the given settings of the gateway."""
    (folder / "functions").mkdir()
    (folder / "functions" / "app.py").write_text(FUNCTIONS, encoding="utf-8")
    (folder / "template.yaml").write_text(TEMPLATE, encoding="utf-8")
    port = free_port()
    served = Served(url=f"http://127.0.0.1:{port}", record=folder / "record")
    deployment = Deployment.load(folder / "template.yaml", {"Record": str(served.record), "Url": served.url})
    with gateway_in_thread(
        deployment,
        port,
        log=lambda name, line: served.lines.append((name, line)),
        periods={"Tick": period},
        idle_seconds=idle_seconds,
        lifetime_seconds=lifetime_seconds,

    ):
        yield served


@contextlib.contextmanager
def gateway_in_thread(
    deployment: Deployment, port: int, *, log: Callable[[str, str], None], **settings: Any
) -> Generator[None]:
    """Serve a deployment in a thread, with the given settings of the gateway."""
    ready = threading.Event()
    stop: list[Callable[[], object]] = []

    async def run() -> None:
        runtime = Runtime(
            deployment,
            gateway_url=f"http://127.0.0.1:{port}",
            log=log,
            retry_delays=(0.05, 0.1),
            preload=["boto3"],
        )
        gateway = Gateway(deployment, runtime, **settings)
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(gateway.stop))
        try:
            await gateway.serve(port=port, ready=lambda _port: ready.set())
        finally:
            await runtime.close()

    def work() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(5)
        yield
    finally:
        stop[0]()
        thread.join(10)
        assert not thread.is_alive()
