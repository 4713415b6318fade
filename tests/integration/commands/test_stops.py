"""Requests to stop a command: they wait until the agent has heard them, over whichever connection."""

from dispatcher.access.roles import Operator, Role
from dispatcher.commands import cancellation
from dispatcher.commands.delivery import deliver
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, connect_new_agent, find, put

ADMIN = Operator(username="ann", role=Role.ADMIN)


def _stopped(gateway: FakeGateway) -> list[str]:
    return [message["commandId"] for message in gateway.messages if message["type"] == "cancel"]


def _sent(conn: Connection) -> None:
    """Connect an agent of protocol 2 and send it a command."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)


def test_a_cancel_is_told_after_a_handshake_that_ended_the_command(conn: Connection) -> None:
    """I18: an agent that has not acknowledged a command yet may execute it all the same."""
    _sent(conn)
    cancellation.request_cancel(conn, "k1", ADMIN)
    connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING, window=10)
    gateway = FakeGateway()

    deliver(conn, gateway, "a1", plenty)
    deliver(conn, gateway, "a1", plenty)

    assert find(conn).status == "cancelled"
    assert _stopped(gateway) == ["k1"]


def test_a_cancel_of_a_command_that_waits_for_its_next_attempt_is_told(conn: Connection) -> None:
    """I18: the attempt before may have reached the agent."""
    _sent(conn)
    connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING, window=10)
    gateway = FakeGateway()

    cancelled = cancellation.cancel(conn, gateway, "k1", ADMIN, plenty)

    assert cancelled.status == "cancelled"
    assert _stopped(gateway) == ["k1"]


def test_a_cancel_of_a_command_that_was_never_sent_is_told_to_nobody(conn: Connection) -> None:
    """The agent does not know the command."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1")
    gateway = FakeGateway()

    cancellation.cancel(conn, gateway, "k1", ADMIN, plenty)
    sweep(conn, gateway, deadline=plenty)

    assert gateway.messages == []
