"""Mute agents: those that execute what comes and say nothing get no more commands until they speak."""

import pytest

from dispatcher.agents import registry
from dispatcher.commands import agent_explanation, claims
from dispatcher.commands.delivery import deliver
from dispatcher.commands.explanation import explain
from dispatcher.commands.loss_check import check_for_loss
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Posted
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, connect_new_agent, find, put, say


def silent_since_its_command(conn: Connection, seconds: int) -> None:
    """Let the first command over this connection have been sent so many seconds ago."""
    conn.execute("update agents set commanded_at = now() - %s * interval '1 second'", (seconds,))
    conn.execute("update agent_commands set ack_deadline = now() where status = 'sent'")


@pytest.mark.parametrize(
    ("mode", "seconds", "again"),
    [
        (DeliveryMode.ACKNOWLEDGING, 10, 1),
        (DeliveryMode.ACKNOWLEDGING, 20, 0),
        (DeliveryMode.BATCHING, 20, 0),
        (DeliveryMode.UNACKNOWLEDGED, 70, 1),
        (DeliveryMode.UNACKNOWLEDGED, 80, 0),
    ],
)
def test_an_agent_that_says_nothing_after_a_command_gets_no_second_delivery(
    conn: Connection, mode: DeliveryMode, seconds: int, again: int
) -> None:
    """The mute k8s-agent executed one stop ten times within eight minutes."""
    connect_new_agent(conn, mode=mode)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    silent_since_its_command(conn, seconds)
    gateway = FakeGateway()

    sweep(conn, gateway, deadline=plenty)

    assert len(gateway.frames) == again
    assert find(conn).status == ("sent" if again else "pending")


@pytest.mark.parametrize("mode", DeliveryMode)
def test_an_agent_whose_only_command_was_too_large_is_not_mute(conn: Connection, mode: DeliveryMode) -> None:
    """It got nothing that it could answer."""
    connect_new_agent(conn, mode=mode)
    put(conn, "k1")
    deliver(conn, FakeGateway(outcomes=[Posted.TOO_LARGE]), "a1", plenty)
    conn.execute("update agents set commanded_at = commanded_at - interval '80 seconds'")
    put(conn, "k2")
    gateway = FakeGateway()

    sweep(conn, gateway, deadline=plenty)

    assert gateway.command_ids == ["k2"]


def test_a_mute_agent_is_not_sent_anything_over_a_third_connection(conn: Connection) -> None:
    """It reconnects each 62 s; two connections in a row without a word are enough."""
    connect_new_agent(conn)
    put(conn, "k1")
    gateway = FakeGateway()

    for number in range(5):
        connect(conn, connection_id=f"c{number}")
        conn.execute("update agent_commands set retry_at = null")
        deliver(conn, gateway, "a1", plenty)

    agent = registry.find(conn, "a1", None)
    why = explain(conn, "k1", None)
    assert gateway.connection_ids == ["c0", "c1"]
    assert agent.presence == "degraded"
    assert why.reason == "agent-mute"
    assert "restart the agent's process" in why.sentence
    assert check_for_loss(conn).figures["mute_agents"] == 1
    assert claims.due_agents(conn, 10) == []


def test_a_silent_agent_is_called_mute_from_the_moment_when_nothing_is_posted_to_it(conn: Connection) -> None:
    """An agent that acknowledges has 15 s for its first word; `why` of its next command and of the agent itself agree."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=1)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    put(conn, "k2")
    conn.execute("update agents set commanded_at = commanded_at - interval '20 seconds'")

    assert explain(conn, "k2", None).reason == "agent-mute"
    assert agent_explanation.explain(conn, "a1", None).reason == "agent-mute"
    conn.execute("delete from agent_commands")
    assert agent_explanation.explain(conn, "a1", None).reason == "agent-mute"


@pytest.mark.parametrize("word", ["heartbeat", "ack", "nonsense"])
def test_one_word_ends_the_silence(conn: Connection, word: str) -> None:
    """Any message over the current connection will do."""
    connect_new_agent(conn)
    put(conn, "k1")
    for number in range(3):
        connect(conn, connection_id=f"c{number}")
        conn.execute("update agent_commands set retry_at = null")
        deliver(conn, FakeGateway(), "a1", plenty)

    say(conn, word, connection_id="c2", commandId="another")
    gateway = FakeGateway()
    deliver(conn, gateway, "a1", plenty)

    assert gateway.connection_ids == ["c2"]
    assert conn.execute("select spoke, mute_connections from agents").fetchone() == (True, 0)


def test_an_agent_that_was_sent_nothing_is_not_mute(conn: Connection) -> None:
    """It has nothing to say but heartbeats, and it may be new."""
    connect_new_agent(conn)
    for number in range(5):
        connect(conn, connection_id=f"c{number}")
    put(conn, "k1")

    assert deliver(conn, FakeGateway(), "a1", plenty).sent == 1


def test_a_post_that_reached_nobody_makes_no_agent_mute(conn: Connection) -> None:
    """D1: an agent that was not reached cannot answer."""
    connect_new_agent(conn)
    put(conn, "k1")
    gone = FakeGateway()

    for number in range(5):
        connect(conn, connection_id=f"c{number}")
        gone.outcomes = [Posted.GONE]
        deliver(conn, gone, "a1", plenty)
    connect(conn, connection_id="last")
    gateway = FakeGateway()
    deliver(conn, gateway, "a1", plenty)

    assert gateway.connection_ids == ["last"]
