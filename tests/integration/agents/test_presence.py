"""Presence: signs of life, disconnections, and silent connections."""

import json
from typing import Any

import pytest

from dispatcher.access.roles import Operator, Role
from dispatcher.agents import connections, registry
from dispatcher.agents.presence import IDLE_SECONDS
from dispatcher.commands.delivery import deliver
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, connect_new_agent, current_connection, put, receive, say


def presence_of(conn: Connection) -> str:
    """Read the agent's presence, as operators see it."""
    agent = registry.find(conn, "a1", None)
    assert agent is not None
    return agent.presence


def silent_for(conn: Connection, seconds: int) -> None:
    """Set the age of the agent's last sign of life."""
    conn.execute("update agents set last_seen_at = now() - %s * interval '1 second'", (seconds,))


def test_one_lost_heartbeat_changes_no_presence_and_the_next_one_restores_it(conn: Connection) -> None:
    """R21, R22: online, degraded and offline follow from the last sign of life, which a heartbeat renews."""
    connect_new_agent(conn)
    seen: list[str] = []

    for seconds in (31, 61, 100, 200):
        silent_for(conn, seconds)
        seen.append(presence_of(conn))
    say(conn, "heartbeat", status="online", activeSessions=2)

    assert seen == ["online", "online", "degraded", "offline"]
    assert presence_of(conn) == "online"


@pytest.mark.parametrize("timestamp", [1795420436, "2026-11-23T07:53:57.074677236Z", None, "yesterday"])
@pytest.mark.parametrize("flat", [True, False])
def test_a_heartbeat_of_any_shape_counts(conn: Connection, timestamp: Any, *, flat: bool) -> None:
    """R23: flat or wrapped, with a timestamp in any form."""
    connect_new_agent(conn)
    fields = {"status": "online", "activeSessions": 2, "capacity": {"maxSessions": 5}}
    frame = {"type": "heartbeat", "timestamp": timestamp, **(fields if flat else {"payload": fields})}

    receive(conn, "a1", "c1", json.dumps(frame))

    assert conn.execute("select active_sessions, capacity from agents").fetchone() == (2, {"maxSessions": 5})


def test_a_heartbeat_over_an_older_connection_does_not_count_for_the_newer_one(conn: Connection) -> None:
    """I8: otherwise a half-open newer connection would not be noticed."""
    connect_new_agent(conn)
    connect(conn, connection_id="c2")
    silent_for(conn, 3600)

    say(conn, "heartbeat")

    assert presence_of(conn) == "offline"


def test_a_disconnect_of_the_current_connection_takes_its_agent_offline(conn: Connection) -> None:
    """After that its queue waits."""
    connect_new_agent(conn)

    connections.forget(conn, "a1", "c1")

    assert presence_of(conn) == "offline"


def test_a_late_disconnect_of_the_older_connection_does_not_change_the_newer_one(conn: Connection) -> None:
    """R17, I8: the event may also come twice."""
    connect_new_agent(conn)
    connect(conn, connection_id="c2")
    put(conn, "k1")
    gateway = FakeGateway()

    for _ in range(2):
        connections.forget(conn, "a1", "c1")
    deliver(conn, gateway, "a1", plenty)

    assert presence_of(conn) == "online"
    assert gateway.connection_ids == ["c2"]


def test_a_connection_that_is_silent_for_too_long_is_forgotten(conn: Connection) -> None:
    """Its $disconnect event may never come."""
    connect_new_agent(conn)
    silent_for(conn, IDLE_SECONDS + 1)
    gateway = FakeGateway()

    swept = sweep(conn, gateway, deadline=plenty)

    assert swept.absent == 1
    assert gateway.closed == ["c1"]
    assert current_connection(conn) is None


def test_an_agent_that_was_dropped_as_idle_gets_its_commands_after_its_next_heartbeat(conn: Connection) -> None:
    """I15: the agent does not reconnect, because its connection could not be closed."""
    connect_new_agent(conn)
    silent_for(conn, IDLE_SECONDS + 1)
    gateway = FakeGateway()
    swept = sweep(conn, gateway, deadline=plenty)
    put(conn, "k1")

    moved = say(conn, "heartbeat")
    sent = deliver(conn, gateway, "a1", plenty).sent

    assert swept.absent == 1
    assert moved
    assert sent == 1
    assert gateway.connection_ids == ["c1"]


@pytest.mark.parametrize("end", ["closed", "superseded", "deleted"])
def test_a_heartbeat_over_any_other_connection_does_not_make_it_current(conn: Connection, end: str) -> None:
    """I8: not a closed one, not an older one while the newer one is offline, not one of a deleted agent."""
    connect_new_agent(conn)
    if end == "closed":
        connections.forget(conn, "a1", "c1")
    elif end == "superseded":
        connect(conn, connection_id="c2")
        connections.forget(conn, "a1", "c2")
    else:
        registry.delete(conn, FakeGateway(), "a1", Operator(username="admin", role=Role.ADMIN))

    silent_for(conn, 3600)

    say(conn, "heartbeat")

    assert conn.execute("select now() - last_seen_at > interval '59 minutes' from agents").fetchone() == (True,)
    assert current_connection(conn) is None


def agent_events(conn: Connection) -> list[tuple[str, str | None]]:
    """Read the types and the causes of the agent's events."""
    return conn.execute("select type, cause from agent_events order by number").fetchall()


def test_the_last_event_of_an_agent_tells_its_presence(conn: Connection) -> None:
    """The sweep tells that a connected agent became offline, once, and that it is heard again."""
    connect_new_agent(conn)
    for seconds in (100, 200, 230, 10, 20):
        silent_for(conn, seconds)
        sweep(conn, FakeGateway(), deadline=plenty)
    silent_for(conn, IDLE_SECONDS + 1)
    sweep(conn, FakeGateway(), deadline=plenty)

    assert agent_events(conn) == [
        ("created", None),
        ("connected", None),
        ("offline", "silent for 150 seconds"),
        ("connected", "heard again"),
        ("disconnected", None),
    ]


def test_events_of_agents(conn: Connection) -> None:
    """A newer connection is an event; the end of the older one is none, because the agent stays connected."""
    by = Operator(username="ann", role=Role.ADMIN)
    registry.insert(conn, agent_id="a1", platform="p", region=None, labels={}, approval="pending")
    for approval in ("approved", "approved", "rejected", "approved"):
        registry.set_approval(conn, FakeGateway(), "a1", approval, by)
    connect(conn, connection_id="c1")
    connect(conn, connection_id="c2")
    connections.forget(conn, "a1", "c1")
    connections.forget(conn, "a1", "c2")
    connect(conn, connection_id="c3")
    registry.delete(conn, FakeGateway(), "a1", by)
    registry.insert(conn, agent_id="a1", platform="p", region=None, labels={}, approval="approved")

    types = [kind for kind, _ in agent_events(conn)]

    assert types == [
        *("created", "approved", "rejected", "approved"),
        *("connected", "connected", "disconnected", "connected"),
        *("deleted", "created"),
    ]
