"""Connections that were given up: what still comes over them, and what becomes of their rows."""

import json

import pytest

from dispatcher.access.roles import Operator, Role
from dispatcher.agents import presence, registry
from dispatcher.agents.presence import IDLE_SECONDS
from dispatcher.commands.delivery import deliver
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put, receive, statuses

ADMIN = Operator(username="admin", role=Role.ADMIN)
HEARTBEAT = '{"type": "heartbeat", "payload": {}}'
ANSWER = json.dumps({"type": "command_response", "sessionId": "s1", "success": True})


def silent_for(conn: Connection, seconds: int) -> None:
    """Let the agent's last sign of life be so old."""
    conn.execute("update agents set last_seen_at = now() - %s * interval '1 second'", (seconds,))


def test_an_agent_that_was_taken_for_absent_and_speaks_again_gets_its_commands(conn: Connection) -> None:
    """I15: its signs of life were lost with the database, and closing its socket failed: it does not reconnect."""
    provide(conn)
    connect(conn)
    silent_for(conn, IDLE_SECONDS + 1)
    gateway = FakeGateway()
    swept = sweep(conn, gateway, deadline=plenty)
    put(conn, "k1")

    moved = receive(conn, "a1", "c1", HEARTBEAT)
    sent = deliver(conn, gateway, "a1", plenty).sent

    assert (swept.absent, moved, sent, gateway.frames[0][0]) == (1, True, 1, "c1")


@pytest.mark.parametrize("end", ["closed", "superseded", "deleted"])
def test_no_other_connection_becomes_the_route_by_speaking(conn: Connection, end: str) -> None:
    """I8: neither one that was closed, nor an older one while the newer is away, nor one of an agent that was deleted."""
    provide(conn)
    connect(conn)
    if end == "closed":
        presence.record_disconnect(conn, "a1", "c1")
    elif end == "superseded":
        connect(conn, connection_id="c2")
        presence.record_disconnect(conn, "a1", "c2")
    else:
        registry.delete(conn, FakeGateway(), "a1", ADMIN)

    moved = receive(conn, "a1", "c1", HEARTBEAT)

    assert (moved, conn.execute("select connection_id from agents").fetchone()) == (False, (None,))


def test_connections_whose_disconnect_was_lost_are_not_closed_at_every_handshake_for_ever(conn: Connection) -> None:
    """The gateway cuts each after 2 h; each that is closed costs the handshake a call."""
    provide(conn)
    for number in range(3):
        connect(conn, connection_id=f"old{number}")
    conn.execute("update agent_connections set connected_at = now() - interval '4 hours'")
    connect(conn, connection_id="c1")

    rows = conn.execute("select connection_id from agent_connections").fetchall()

    assert rows == [("c1",)]


def test_an_answer_over_an_old_connection_settles_nothing_that_went_only_over_a_newer_one(conn: Connection) -> None:
    """I7: the docker-agent's answer names only the session, and the command that it belongs to is cancelled by now."""
    provide(conn, platform="docker")
    connect(conn)
    put(conn, "k1", session_id="s1")
    deliver(conn, FakeGateway(), "a1", plenty)
    connect(conn, connection_id="c2")
    conn.execute("update agent_commands set status = 'cancelled', cause = 'cancelled', completed_at = now()")
    put(conn, "k2", session_id="s1")
    deliver(conn, FakeGateway(), "a1", plenty)

    receive(conn, "a1", "c1", ANSWER)
    late = statuses(conn)
    receive(conn, "a1", "c2", ANSWER)

    assert (late, statuses(conn)) == ({"k1": "cancelled", "k2": "sent"}, {"k1": "cancelled", "k2": "completed"})


def test_an_answer_that_its_disconnect_overtook_still_counts(conn: Connection) -> None:
    """I7: nothing newer is there that it could be mistaken for; once there is, it belongs to what went out before."""
    provide(conn, platform="docker")
    connect(conn)
    put(conn, "k1", session_id="s1")
    deliver(conn, FakeGateway(), "a1", plenty)
    presence.record_disconnect(conn, "a1", "c1")

    receive(conn, "a1", "c1", ANSWER)

    assert statuses(conn) == {"k1": "completed"}
