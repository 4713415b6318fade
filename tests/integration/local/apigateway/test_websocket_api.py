"""The WebSocket API: paths, order, close codes and time limits that the conformance tests do not test."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import ClientConnection as Opened
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from tests.gateway.targets import local_gateway
from tests.integration.local.apigateway.serving import closing

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

    from tests.gateway.targets import Target


@pytest.mark.parametrize("path", ["/live", "/api/v1/agents/connect", "//api/v1/agents/connect"])
def test_agents_connect_at_the_stage_and_at_their_own_path(served: Target, path: str) -> None:
    """A base URL that ends in a slash makes no difference."""
    with served.open("paths", path=path) as agent:
        assert agent.ping().wait(10)


def test_a_handshake_elsewhere_is_forbidden(served: Target) -> None:
    """There is one stage."""
    with pytest.raises(InvalidStatus) as refused, served.open("anyone", path="/elsewhere"):
        pass

    assert refused.value.response.status_code == 403


def test_many_handshakes_at_once_all_succeed(served: Target) -> None:
    """They wait for each other: none is refused because the processes are busy."""

    async def storm() -> list[object]:
        opening = (connect(f"{served.sockets}?agent_id=storm-{number}", proxy=None) for number in range(100))
        opened = await asyncio.gather(*opening, return_exceptions=True)
        # Each is told its report first: a report about a connection that has gone is posted again and again.
        await asyncio.gather(*(agent.recv() for agent in opened if isinstance(agent, Opened)))
        await asyncio.gather(*(agent.close() for agent in opened if isinstance(agent, Opened)))
        return [type(agent) for agent in opened]

    assert asyncio.run(storm()) == [Opened] * 100


def test_a_refused_handshake_has_no_disconnect(served: Target) -> None:
    """There never was a connection."""
    with pytest.raises(InvalidStatus), served.open("refused", wish="refuse"):
        pass
    with served.connected("after it"):
        pass
    served.wait_for("Disconnect", "after it")

    assert served.recorded("Disconnect", "refused") == []


def test_messages_are_handled_in_order(served: Target) -> None:
    """A binary message is base64."""
    with served.connected("ordered") as (agent, _):
        for number in range(20):
            agent.send(json.dumps({"type": "other", "number": number}))
        agent.send(b"\x00\xff")
        events = served.wait_for("Message", "ordered", 21)

    assert [json.loads(event["body"])["number"] for event in events[:20]] == list(range(20))
    assert events[20]["isBase64Encoded"]
    assert events[20]["body"] == "AP8="


def test_disconnect_runs_after_the_messages_that_came_before_the_close(served: Target) -> None:
    """All received messages are handled first."""
    with served.connected("leaving") as (agent, _):
        agent.send("slow")
        agent.send("last")
        agent.close(4321, "tired")
    served.wait_for("Disconnect", "leaving")

    assert [event["body"] for event in served.recorded("Message", "leaving")] == ["slow", "last"]


def test_messages_that_come_together_with_the_close_are_handled(served: Target) -> None:
    """The client's frames may arrive in one piece."""
    with served.connected("hurried") as (agent, _):
        frames = Frame(Opcode.TEXT, b"last").serialize(mask=True) + Frame(Opcode.CLOSE, b"\x03\xe8").serialize(
            mask=True
        )
        agent.socket.sendall(frames)
        served.wait_for("Disconnect", "hurried")

    assert [event["body"] for event in served.wait_for("Message", "hurried")] == ["last"]


def test_a_text_that_is_not_utf8_closes_with_1007(served: Target) -> None:
    """As RFC 6455 says."""
    with served.connected("garbled") as (agent, _):
        agent.socket.sendall(Frame(Opcode.TEXT, b"\xff").serialize(mask=True))

        assert closing(agent)[0] == 1007


def test_a_lost_connection_is_disconnected_with_1006(served: Target) -> None:
    """No close frame came."""
    with served.connected("lost") as (agent, _):
        agent.socket.shutdown(socket.SHUT_RDWR)

    assert served.wait_for("Disconnect", "lost")[0]["requestContext"]["disconnectStatusCode"] == 1006


def test_a_client_that_does_not_wait_for_connect_is_disconnected_after_it(served: Target) -> None:
    """Its connection is recorded, so it must be forgotten too."""
    with pytest.raises(TimeoutError), served.open("impatient", wish="slow", open_timeout=0.1):
        pass

    served.wait_for("Disconnect", "impatient")
    assert len(served.recorded("Connect", "impatient")) == 1


def test_idle_and_old_connections_are_closed_as_going_away() -> None:
    """Messages keep a connection alive, but not beyond its lifetime."""
    with local_gateway(idle_seconds=1.5, lifetime_seconds=6.0) as own:  # far apart, for a busy machine
        with own.open("idle") as idle, own.open("busy") as busy:
            with pytest.raises(ConnectionClosed) as closed:
                _talk(busy)
            assert closing(idle) == (1001, "Going away")
        contexts = [own.wait_for("Disconnect", agent)[0]["requestContext"] for agent in ("idle", "busy")]

    lasted = [context["requestTimeEpoch"] - context["connectedAt"] for context in contexts]
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    assert 1500 <= lasted[0] < lasted[1]
    assert lasted[1] >= 6000
    assert contexts[0]["disconnectStatusCode"] == 1001
    assert contexts[0]["disconnectReason"] == "Going away"


def _talk(agent: ClientConnection) -> None:
    while True:
        agent.send("alive")
        agent.recv(timeout=10)
        time.sleep(0.05)
