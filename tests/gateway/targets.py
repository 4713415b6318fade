"""The targets of the conformance tests: the gateway of local/, ministack, a deployment; and how each differs from AWS."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import boto3
from botocore.config import Config
from websockets.sync.client import ClientConnection, connect

from local.localstack import emulator, fitting, sam
from local.localstack.stack import Account
from tests.integration.local.apigateway.serving import gateway_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from http.client import HTTPResponse

STAGE = Path(__file__).with_name("stage")
PATIENCE = 30.0
"""Seconds to wait for an event: enough for the first start of a function on any target."""
_connect: Any = connect  # its options are passed on
ONCE = Config(retries={"total_max_attempts": 1})  # a refusal must be seen, not repeated
LOCAL: dict[str, Any] = {
    "region_name": sam.REGION,
    **dict.fromkeys(("aws_access_key_id", "aws_secret_access_key"), "test"),
    "config": ONCE,
}
"""Settings of boto3 for targets on this machine."""

DIFFERENCES: Mapping[str, Mapping[str, str]] = {
    "local": {},
    "ministack": {
        "test_cookies_are_separate_from_the_headers": "An HTTP event has no `cookies`; they stay in a header.",
        "test_an_http_authorizer_without_an_identity_source_gets_every_request": (
            "An HTTP authorizer without an IdentitySource uses `Authorization` as its source: 401 without that header."
        ),
        "test_a_failing_function_is_an_internal_server_error": "A failing HTTP function is a 502.",
        "test_the_error_of_a_failing_function_does_not_reach_the_client": (
            "The client gets the exception's text of a failing HTTP function."
        ),
        "test_a_header_of_a_handshake_keeps_its_case": "It lower-cases the names of a handshake's headers.",
        "test_an_authorizer_that_raises_unauthorized_is_401": "An authorizer that raises `Unauthorized` gives 500.",
        "test_a_refusal_of_connect_keeps_its_status": "A status other than 2xx from `$connect` becomes 403.",
        "test_a_message_cannot_choose_the_route_of_a_handshake": (
            "A message of the type `$connect` or `$disconnect` runs that route's function."
        ),
        "test_what_a_route_returns_is_not_sent_to_the_client": "It sends a route's body to the client without a RouteResponse.",
        "test_the_client_gets_a_message_when_a_route_fails": "The client gets the exception's text of a failing route.",
        "test_a_post_of_128_kb_arrives_and_one_byte_more_is_too_large": "It does not limit the size of a post.",
        "test_a_message_of_more_than_128_kb_closes_with_1009": "It does not limit the size of a message.",
        "test_a_frame_of_more_than_32_kb_closes_with_1009": "It does not limit the size of a frame.",
        "test_get_connection_returns_when_the_connection_was_last_active": "`get_connection` answers `{}`.",
        "test_a_disconnect_event_contains_the_clients_close_code": "`$disconnect` always gets the code 1006.",
        "test_a_subprotocol_that_connect_chooses_is_agreed": "It never agrees on a subprotocol.",
        "test_a_failed_invocation_names_the_exception": "The error type of every failed function is Runtime.HandlerError.",
    },
    "deployment": {},
}
"""The known differences of a target, by the test that shows each; the run fails once a difference is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One gateway, and the clients that talk to it."""

    name: str
    http: str
    sockets: str
    later: str
    connections: Any
    """A boto3 client of its @connections API."""
    functions: Any
    """A boto3 client of Lambda."""
    key: dict[str, Any] = field(default_factory=dict[str, Any])
    """The key for the AWS APIs of the gateway of local/, as arguments of boto3."""
    log: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Each function's name with a line that it printed; only for the gateway of local/."""

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[HTTPResponse, bytes]:
        """Send one request, its path exactly as given."""
        origin = urlsplit(self.http)
        kind = HTTPSConnection if origin.scheme == "https" else HTTPConnection
        connection = kind(origin.netloc, timeout=PATIENCE)
        try:
            connection.request(method, origin.path + path, body, dict(headers or {}))
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def echo(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Send one request, and return the event that the function got."""
        response, answer = self.ask(method, path, body, headers)
        assert response.status == 200, answer
        event: dict[str, Any] = json.loads(answer)
        return event

    def answer(self, answer: object) -> tuple[HTTPResponse, bytes]:
        """Let the function return `answer`, and return the gateway's response."""
        return self.ask("POST", "/answer", json.dumps(answer).encode(), {"content-type": "application/json"})

    def open(
        self, agent: str, *, wish: str = "", watcher: str = "", path: str | None = None, **options: Any
    ) -> ClientConnection:
        """Open a WebSocket as an agent; `options` and exceptions are those of `connect` of websockets."""
        query = {"agent_id": agent, "wish": wish, "watcher": watcher}
        sockets = self.sockets if path is None else self.sockets.removesuffix("/live") + path
        defaults: dict[str, Any] = {"open_timeout": PATIENCE, "close_timeout": 2, "max_size": None}
        opened: ClientConnection = _connect(
            f"{sockets}?{urlencode({name: value for name, value in query.items() if value})}",
            additional_headers={"X-Agent-Api-Key": "a key"},
            user_agent_header="agent/1",
            compression=None,
            proxy=None,
            **{**defaults, **options},
        )
        return opened

    @contextlib.contextmanager
    def connected(self, agent: str, **options: Any) -> Generator[tuple[ClientConnection, str]]:
        """Open a WebSocket and wait for the report of its `$connect`; yield it and the connection's id."""
        with self.open(agent, **options) as socket:
            yield socket, identity_of(report(socket))

    def connections_at(self, stage: str) -> Any:
        """Return a boto3 client of @connections, on the gateway of local/, with this path in its URL."""
        options: dict[str, Any] = {**LOCAL, **self.key}
        return boto3.client("apigatewaymanagementapi", endpoint_url=self.http + stage, **options)

    def recorded(self, function: str, agent: str | None = None) -> list[dict[str, Any]]:
        """Return the events that a function got so far, of one agent or of all, on the gateway of local/."""
        events = [json.loads(line) for name, line in list(self.log) if name == function and line.startswith("{")]
        return [event for event in events if agent is None or _agent_of(event) == agent]

    def wait_for(self, function: str, agent: str | None = None, count: int = 1) -> list[dict[str, Any]]:
        """Wait until a function has got this number of events; return them."""
        self.until(lambda: len(self.recorded(function, agent)) >= count)
        return self.recorded(function, agent)

    @staticmethod
    def until(holds: Callable[[], object]) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def report(socket: ClientConnection) -> dict[str, Any]:
    """Return the next report of a function that comes over the socket."""
    told: dict[str, Any] = json.loads(socket.recv(timeout=PATIENCE))
    return told


def identity_of(hello: Mapping[str, Any]) -> str:
    """Return the connection's id from any report about it."""
    identity: str = hello["event"]["requestContext"]["connectionId"]
    return identity


def _agent_of(event: Mapping[str, Any]) -> str | None:
    agent: str | None = event.get("requestContext", {}).get("authorizer", {}).get("agent")
    return agent


@contextlib.contextmanager
def local_gateway(folder: Path | None = None, **settings: Any) -> Generator[Target]:
    """Serve the stage with the gateway of local/, with the given settings of the gateway."""
    del folder
    log: list[tuple[str, str]] = []
    template = STAGE / "template.yaml"
    with gateway_in_thread(template, log=lambda name, line: log.append((name, line)), **settings) as serving:
        key = {
            "aws_access_key_id": serving.credentials.key_id,
            "aws_secret_access_key": serving.credentials.secret,
        }
        options: dict[str, Any] = {**LOCAL, **key, "endpoint_url": serving.url}
        yield Target(
            name="local",
            http=serving.url,
            sockets=f"ws{serving.url.removeprefix('http')}/live",
            later="Later",
            connections=boto3.client("apigatewaymanagementapi", **options),
            functions=boto3.client("lambda", **options),
            key=key,
            log=log,
        )


@contextlib.contextmanager
def ministack(folder: Path) -> Generator[Target]:
    """Deploy the stage with the SAM CLI to a new ministack, which ends after the tests."""
    shutil.copytree(STAGE, folder / "stage")
    template = folder / "stage" / "template.yaml"
    template.write_text(
        fitting.fitted(template.read_text(), architecture=fitting.architecture(), runtime=emulator.runtime())
    )
    with emulator.running(folder) as running:
        account = Account(running.host)
        name = f"gateway-{secrets.token_hex(3)}"
        account.create_bucket(f"{name}-artifacts")
        cli = sam.Sam(endpoint=running.url, bucket=f"{name}-artifacts", stack=name)
        apis = f"{running.url}/_aws/execute-api"
        cli.deploy(template, {"Gateway": apis})
        yield _deployed("ministack", name, {**LOCAL, "endpoint_url": running.url}, apis)


@contextlib.contextmanager
def deployment(folder: Path) -> Generator[Target]:
    """Find a stage that is deployed already: the stack GATEWAY_STACK, on AWS or at AWS_ENDPOINT_URL."""
    del folder
    endpoint = emulator.named(os.environ)
    apis = f"{endpoint}/_aws/execute-api" if endpoint else None
    options = {**LOCAL, "endpoint_url": endpoint} if endpoint else {"config": ONCE}
    yield _deployed("deployment", os.environ["GATEWAY_STACK"], options, apis)


def _deployed(name: str, stack: str, options: Mapping[str, Any], apis: str | None) -> Target:
    """Return a stack as a target; `apis` is where an emulator serves its APIs, None for AWS."""
    session: Any = boto3
    formation = session.client("cloudformation", **options)
    ids = {
        entry["LogicalResourceId"]: entry["PhysicalResourceId"]
        for page in formation.get_paginator("list_stack_resources").paginate(StackName=stack)
        for entry in page["StackResourceSummaries"]
    }
    if apis is None:
        domain = f"execute-api.{formation.meta.region_name}.amazonaws.com"
        http_url, stage = f"https://{ids['HttpApi']}.{domain}", f"https://{ids['WebSocketApi']}.{domain}/live"
    else:
        http_url, stage = f"{apis}/{ids['HttpApi']}/$default", f"{apis}/{ids['WebSocketApi']}/live"
    return Target(
        name=name,
        http=http_url,
        sockets=f"ws{stage.removeprefix('http')}",
        later=ids["Later"],
        connections=session.client("apigatewaymanagementapi", **{**options, "endpoint_url": stage}),
        functions=session.client("lambda", **options),
    )


TARGETS: Mapping[str, Callable[[Path], contextlib.AbstractContextManager[Target]]] = {
    "local": local_gateway,
    "ministack": ministack,
    "deployment": deployment,
}
"""The values of GATEWAY."""
