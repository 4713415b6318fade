"""One host for two APIs: the edge proxy does on one machine what CloudFront does on AWS."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from local.localstack import edge_proxy
from local.localstack.edge_proxy import Origins
from tests.gateway.targets import local_gateway
from tests.integration.local.apigateway.serving import closing

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.gateway.targets import Target

ORIGINS = Origins(http="http://127.0.0.1:1/_aws/h/$default", sockets="http://127.0.0.1:1/_aws/s/live")


@pytest.fixture(scope="module")
def behind() -> Generator[Target]:
    """A gateway that its clients reach through the proxy."""
    with (
        local_gateway() as target,
        edge_proxy.opened(Origins(http=f"{target.http}/pets", sockets=f"{target.http}/live")) as url,
    ):
        yield replace(target, http=url, sockets=f"ws{url.removeprefix('http')}/live")


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        (b"GET /healthz HTTP/1.1", b"GET /_aws/h/$default/healthz HTTP/1.1"),
        (
            b"POST /api/v1/agents/register?a=%2F HTTP/1.1",
            b"POST /_aws/h/$default/api/v1/agents/register?a=%2F HTTP/1.1",
        ),
        (b"GET /api/v1/agents/connect?agent_id=a HTTP/1.1", b"GET /_aws/s/live?agent_id=a HTTP/1.1"),
        (b"GET //api/v1/agents/connect?agent_id=a HTTP/1.1", b"GET /_aws/s/live?agent_id=a HTTP/1.1"),
    ],
)
def test_the_path_chooses_the_api(asked: bytes, first: bytes) -> None:
    """Agents whose base URL ends with a slash request a path with two slashes."""
    head = edge_proxy.rewritten(asked + b"\r\nHost: one.example\r\nX-Agent-Api-Key: k\r\n\r\n", ORIGINS)

    lines = head.split(b"\r\n")
    assert lines[0] == first
    assert b"Host: 127.0.0.1:1" in lines
    assert b"X-Agent-Api-Key: k" in lines
    assert b"one.example" not in head
    assert head.endswith(b"\r\n\r\n")


def test_an_http_request_and_its_answer_pass(behind: Target) -> None:
    """The API gets the body, the headers and the path without the stage."""
    event = behind.echo("PUT", "/dog?q=1", b"\xff" * 200_000, {"X-Own": "value"})

    assert event["routeKey"] == "ANY /pets/{proxy+}"
    assert event["rawQueryString"] == "q=1"
    assert event["headers"]["x-own"] == "value"
    assert base64.b64decode(event["body"]) == b"\xff" * 200_000


def test_a_websocket_passes_until_the_gateway_closes_it(behind: Target) -> None:
    """Messages pass in both directions, and so does the close code."""
    with behind.connected("passing", path="/api/v1/agents/connect") as (agent, identity):
        agent.send("hello")
        behind.wait_for("Message", "passing")
        behind.connections.delete_connection(ConnectionId=identity)

        assert closing(agent)[0] == 1000


def test_the_gateway_learns_that_an_agent_was_killed(behind: Target) -> None:
    """Otherwise the agent would stay online."""
    with behind.connected("killed", path="/api/v1/agents/connect") as (agent, _):
        agent.socket.shutdown(2)

    assert behind.wait_for("Disconnect", "killed")[0]["requestContext"]["disconnectStatusCode"] == 1006
