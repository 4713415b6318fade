"""The WebSocket API: handshakes, messages, limits, closes."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.integration.local.apigateway.serving import Served, closing, serving

if TYPE_CHECKING:
    from pathlib import Path


def context_of(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a recorded event's requestContext."""
    context: dict[str, Any] = entry["event"]["requestContext"]
    return context


def test_a_handshake_asks_the_authorizer_and_runs_connect(served: Served) -> None:
    """The authorizer's context, as strings, is in the events of the connection."""
    with connect(served.socket_url("opening", more="1"), additional_headers={"X-Agent-Api-Key": "key"}):
        pass

    [asked] = [
        entry["event"]
        for entry in served.recorded("Authorize")
        if entry["event"]["queryStringParameters"]["agent_id"] == "opening"
    ]
    [opened] = served.wait_for("Connect", "opening")
    assert (asked["type"], asked["headers"]["X-Agent-Api-Key"]) == ("REQUEST", "key")
    assert asked["methodArn"] == "arn:aws:execute-api:us-east-1:000000000000:local/live/$connect"
    assert asked["multiValueQueryStringParameters"] == {"agent_id": ["opening"], "more": ["1"]}
    context = context_of(opened)
    assert (context["eventType"], context["routeKey"], context["stage"]) == ("CONNECT", "$connect", "live")
    assert context["authorizer"] == {"principalId": "opening", "agent": "opening", "number": "7", "flag": "true"}
    assert context["identity"]["sourceIp"] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/live", "/api/v1/agents/connect", "//api/v1/agents/connect"])
def test_agents_connect_at_the_stage_and_at_their_own_path(served: Served, path: str) -> None:
    """A base URL that ends in a slash makes no difference."""
    with connect(served.socket_url("paths", path)) as agent:
        assert agent.ping().wait(5)


@pytest.mark.parametrize(
    ("agent", "wish", "status"),
    [
        ("", "", 401),
        ("unauthorized", "", 401),
        ("denied", "", 403),
        ("refused", "refuse", 418),
        ("failing", "raise", 502),
    ],
)
def test_a_handshake_is_refused(served: Served, agent: str, wish: str, status: int) -> None:
    """By a missing identity, by the authorizer, by $connect's status, by its failure; and no $disconnect follows."""
    with pytest.raises(InvalidStatus) as refused, connect(served.socket_url(agent, wish=wish)):
        pass

    assert refused.value.response.status_code == status
    assert not served.recorded("Disconnect", agent)


def test_a_handshake_elsewhere_is_forbidden(served: Served) -> None:
    """There is one stage."""
    with pytest.raises(InvalidStatus) as refused, connect(served.socket_url("anyone", "/elsewhere")):
        pass

    assert refused.value.response.status_code == 403


def test_messages_arrive_in_order_and_their_answers_stay_inside(served: Served) -> None:
    """A returned body is not sent to the client: there is no RouteResponse."""
    with connect(served.socket_url("ordered")) as agent:
        for number in range(20):
            agent.send(json.dumps({"type": "other", "number": number}))
        agent.send(b"\x00\xff")
        messages = served.wait_for("Message", "ordered", 21)
        with pytest.raises(TimeoutError):
            agent.recv(timeout=0.05)

    assert [json.loads(message["event"]["body"])["number"] for message in messages[:20]] == list(range(20))
    assert (messages[20]["event"]["body"], messages[20]["event"]["isBase64Encoded"]) == ("AP8=", True)
    context = context_of(messages[0])
    assert (context["eventType"], context["routeKey"]) == ("MESSAGE", "$default")
    assert context["authorizer"]["agent"] == "ordered"
    assert context["connectionId"] == served.connection_id("ordered")
    assert context["messageId"]


def test_the_selection_expression_chooses_the_route(served: Served) -> None:
    """A message of a type that has a route of its own goes there."""
    with connect(served.socket_url("special")) as agent:
        agent.send('{"type": "special"}')
        [message] = served.wait_for("Special", "special")

    assert context_of(message)["routeKey"] == "special"


def test_a_failing_route_is_told_to_the_client(served: Served) -> None:
    """With the frame that API Gateway sends; the connection stays open."""
    with connect(served.socket_url("failing-route")) as agent:
        agent.send("raise")
        error = json.loads(agent.recv(timeout=5))
        agent.send("fine")
        served.wait_for("Message", "failing-route", 2)

    assert error["message"] == "Internal server error"
    assert error["connectionId"] == served.connection_id("failing-route")
    assert error["requestId"]


def test_a_message_of_128_kb_arrives_and_one_byte_more_closes_with_1009(served: Served) -> None:
    """The limit is the message's, however it is cut into frames."""
    limit = 128 * 1024
    frames = ["x" * 32768] * 4
    with connect(served.socket_url("message-size"), compression=None) as agent:
        agent.send(frames)
        [message] = served.wait_for("Message", "message-size")
        agent.send([*frames, "x"])
        code, _ = closing(agent)

    assert len(message["event"]["body"]) == limit
    assert code == 1009
    [gone] = served.wait_for("Disconnect", "message-size")
    assert context_of(gone)["disconnectStatusCode"] == 1009


def test_a_frame_of_32_kb_arrives_and_one_byte_more_closes_with_1009(served: Served) -> None:
    """The limit is each frame's."""
    with connect(served.socket_url("frame-size"), compression=None) as agent:
        agent.send("x" * 32768)
        served.wait_for("Message", "frame-size")
        agent.send("x" * 32769)
        code, _ = closing(agent)

    assert code == 1009


def test_a_ping_is_answered_while_a_function_runs(served: Served) -> None:
    """Agents live by the pong."""
    with connect(served.socket_url("pinging")) as agent:
        agent.send("slow")
        started = time.monotonic()
        assert agent.ping().wait(5)

    assert time.monotonic() - started < 0.4


def test_disconnect_runs_after_the_messages_with_the_clients_close_code(served: Served) -> None:
    """Whatever was received before the close is handled before $disconnect."""
    with connect(served.socket_url("leaving")) as agent:
        agent.send("slow")
        agent.send("last")
        agent.close(4321, "tired")

    [gone] = served.wait_for("Disconnect", "leaving")
    context = context_of(gone)
    assert (context["eventType"], context["disconnectStatusCode"]) == ("DISCONNECT", 4321)
    assert context["disconnectReason"] == "tired"
    assert [message["event"]["body"] for message in served.recorded("Message", "leaving")] == ["slow", "last"]


def test_a_connection_that_is_lost_is_disconnected_with_1006(served: Served) -> None:
    """No close frame came."""
    with connect(served.socket_url("lost")) as agent:
        agent.socket.shutdown(socket.SHUT_RDWR)

    [gone] = served.wait_for("Disconnect", "lost")

    assert context_of(gone)["disconnectStatusCode"] == 1006


def test_a_client_that_does_not_wait_for_connect_is_disconnected_after_it(served: Served) -> None:
    """Its connection is recorded, so it must be forgotten too."""
    with pytest.raises(TimeoutError), connect(served.socket_url("impatient", wish="slow"), open_timeout=0.1):
        pass

    served.wait_for("Disconnect", "impatient")

    assert len(served.recorded("Connect", "impatient")) == 1


def test_idle_and_old_connections_are_closed_as_going_away(tmp_path: Path) -> None:
    """Messages keep a connection alive, but not beyond its lifetime."""
    with serving(tmp_path, idle_seconds=0.4, lifetime_seconds=1.0) as own:
        with connect(own.socket_url("warm-up")):
            pass
        with connect(own.socket_url("idle")) as idle, connect(own.socket_url("old")) as old:
            started = time.monotonic()
            for _ in range(3):
                time.sleep(0.2)
                old.send("alive")
            assert closing(idle) == (1001, "Going away")
            idle_for = time.monotonic() - started
            old.send("alive")
            time.sleep(0.2)
            old.send("alive")
            assert closing(old) == (1001, "Going away")
            lived = time.monotonic() - started
        [gone] = own.wait_for("Disconnect", "old")

    assert 0.4 < idle_for < 1.0
    assert 0.8 < lived < 2.5
    assert context_of(gone)["disconnectStatusCode"] == 1001
    assert context_of(gone)["disconnectReason"] == "Going away"
