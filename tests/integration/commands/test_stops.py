"""Requests to stop a command: they wait until the agent has heard them, over whichever connection."""

import pytest

from dispatcher.access.roles import Operator, Role
from dispatcher.agents import registry
from dispatcher.commands import cancellation
from dispatcher.commands.delivery import deliver
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Posted
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, connect_new_agent, find, move_into_past, put, report, report_of

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
    cancellation.request_cancel(conn, "k1", "ann")
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


@pytest.mark.parametrize("posted", [Posted.REFUSED, Posted.GONE, Posted.UNKNOWN])
def test_a_request_to_stop_that_is_not_taken_is_not_posted_again_at_once(conn: Connection, posted: Posted) -> None:
    """A worker must not post the same request until its time is up."""
    _sent(conn)
    cancellation.request_cancel(conn, "k1", "ann")
    posts: list[str] = []
    gateway = FakeGateway(outcomes=[posted] * 5, before_post=posts.append)

    deliver(conn, gateway, "a1", plenty)

    assert len(posts) == 1


def test_a_command_behind_a_refused_request_to_stop_keeps_its_attempt(conn: Connection) -> None:
    """I3: it was not posted."""
    _sent(conn)
    cancellation.request_cancel(conn, "k1", "ann")
    put(conn, "k2")

    deliver(conn, FakeGateway(outcomes=[Posted.REFUSED]), "a1", plenty)

    assert (find(conn, "k2").status, find(conn, "k2").attempt) == ("pending", 0)


def _created_again(conn: Connection) -> None:
    """Delete the agent, and create and connect another one of the same id."""
    registry.delete(conn, FakeGateway(), "a1", ADMIN)
    registry.insert(conn, agent_id="a1", platform="other", region=None, labels={}, approval="approved")
    connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING, window=10)


def test_a_new_agent_is_not_told_to_stop_a_command_of_the_old_one(conn: Connection) -> None:
    """I19: a new agent of the same id inherits nothing."""
    _sent(conn)
    report(conn, report_of("ack"))
    move_into_past(conn, "execution_deadline")
    sweep(conn, FakeGateway(outcomes=[Posted.REFUSED]), deadline=plenty)
    assert find(conn).status == "timed_out"
    _created_again(conn)
    gateway = FakeGateway()

    sweep(conn, gateway, deadline=plenty)

    assert gateway.messages == []


@pytest.mark.parametrize("kind", ["complete", "failed", "cancelled"])
def test_a_new_agent_cannot_settle_a_command_of_the_old_one(conn: Connection, kind: str) -> None:
    """I9, I19: only the agent that a command was accepted for ends it."""
    _sent(conn)
    report(conn, report_of("ack"))
    _created_again(conn)

    moved = report(conn, report_of(kind, error="stolen"), connection_id="c2")

    assert not moved
    assert find(conn).cause == "its agent was deleted by ann"


def test_a_command_that_was_accepted_during_a_deletion_ends_although_the_id_is_used_again(conn: Connection) -> None:
    """I1: each accepted command reaches one end."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    _created_again(conn)
    put(conn, "k1", incarnation=1)
    put(conn, "k2")

    sweep(conn, FakeGateway(), deadline=plenty)

    assert (find(conn, "k1").status, find(conn, "k2").status) == ("cancelled", "sent")
