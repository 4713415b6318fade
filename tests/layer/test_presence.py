"""Agents that come, go, and come twice."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from dispatcher.agents import presence, registry
from dispatcher.agents.connections import Origin
from dispatcher.commands import flush
from dispatcher.commands.delivery import deliver
from dispatcher.commands.flush import FlushRequest
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Posted
from dispatcher.protocol.handshake import Handshake
from dispatcher.sessions import session_records
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put, receive, statuses


def presence_of(conn: Connection) -> str:
    """Read the agent's presence, as operators see it."""
    agent = registry.find(conn, "a1", None)
    assert agent is not None
    return agent.presence


@dataclass(slots=True)
class SlowGateway(FakeGateway):
    """Its connections are live only at the n-th look, and a post before that finds none: `$connect` has not returned."""

    live_at: int = 3
    looks: int = 0

    def is_live(self, connection_id: str) -> bool:
        """Count the look."""
        del connection_id
        self.looks += 1
        return self.looks >= self.live_at

    def post(self, connection_id: str, frame: str) -> Posted:
        """Say gone to what comes too early."""
        if self.looks < self.live_at:
            return Posted.GONE
        return FakeGateway.post(self, connection_id, frame)


def test_a_late_disconnect_of_the_older_connection_leaves_the_newer_one_alone(conn: Connection) -> None:
    """R17, I8: it may also come twice."""
    provide(conn)
    connect(conn)
    connect(conn, connection_id="c2")
    put(conn, "k1")
    gateway = FakeGateway()

    for _ in range(2):
        presence.record_disconnect(conn, "a1", "c1")
    deliver(conn, gateway, "a1", plenty)

    assert (presence_of(conn), [connection for connection, _ in gateway.frames]) == ("online", ["c2"])


def test_a_disconnect_of_the_current_connection_takes_its_agent_offline(conn: Connection) -> None:
    """And only then does its queue wait."""
    provide(conn)
    connect(conn)

    presence.record_disconnect(conn, "a1", "c1")

    assert presence_of(conn) == "offline"


def test_of_several_processes_with_one_agent_id_the_last_to_connect_gets_the_commands(conn: Connection) -> None:
    """R35: each connection has its own epoch, and those before it are closed."""
    provide(conn)
    put(conn, "k1")
    gateway = FakeGateway()

    to_flush = [
        flush.record_connection(conn, gateway, "a1", f"c{number}", handshake=Handshake(), origin=Origin())
        for number in range(3)
    ]
    for each in to_flush:
        assert each is not None
        flush.flush(conn, gateway, each, lambda: 20.0)

    assert [each.epoch for each in to_flush if each] == [1, 2, 3]
    assert [connection for connection, _ in gateway.frames] == ["c2"]
    assert set(gateway.closed) == {"c0", "c1"}


def test_one_lost_heartbeat_flaps_nothing_and_the_next_one_brings_an_agent_back(conn: Connection) -> None:
    """R21, R22: online, degraded and offline follow from the last sign of life, which a heartbeat renews."""
    provide(conn)
    connect(conn)
    seen: list[str] = []

    for seconds in (31, 61, 100, 200):
        conn.execute("update agents set last_seen_at = now() - %s * interval '1 s'", (seconds,))
        seen.append(presence_of(conn))
    receive(conn, "a1", "c1", '{"type": "heartbeat", "payload": {"status": "online", "activeSessions": 2}}')

    assert (seen, presence_of(conn)) == (["online", "online", "degraded", "offline"], "online")


def test_a_heartbeat_of_an_older_connection_is_no_sign_of_life_of_the_newer(conn: Connection) -> None:
    """I8: a half-open newer connection is found out all the same."""
    provide(conn)
    connect(conn)
    connect(conn, connection_id="c2")
    conn.execute("update agents set last_seen_at = now() - interval '1 hour'")

    receive(conn, "a1", "c1", '{"type": "heartbeat", "payload": {}}')

    assert presence_of(conn) == "offline"


@pytest.mark.parametrize("timestamp", [1795420436, "2026-11-23T07:53:57.074677236Z", None, "yesterday"])
@pytest.mark.parametrize("flat", [True, False])
def test_a_heartbeat_counts_in_whatever_shape_it_comes(conn: Connection, timestamp: Any, *, flat: bool) -> None:
    """R23: flat or wrapped, with a timestamp of any form."""
    provide(conn)
    connect(conn)
    fields = {"status": "online", "activeSessions": 2, "capacity": {"maxSessions": 5}}
    frame = {"type": "heartbeat", "timestamp": timestamp, **(fields if flat else {"payload": fields})}

    receive(conn, "a1", "c1", json.dumps(frame))

    assert conn.execute("select active_sessions, capacity from agents").fetchone() == (2, {"maxSessions": 5})


def test_flush_waits_until_the_handshake_is_over_and_then_delivers(conn: Connection) -> None:
    """R10 to R12: the queue goes out on reconnect, and not before anyone can be reached."""
    provide(conn)
    put(conn, "k1")
    gateway = SlowGateway()
    to_flush = flush.record_connection(conn, gateway, "a1", "c1", handshake=Handshake(), origin=Origin())
    assert to_flush is not None

    delivered = flush.flush(conn, gateway, to_flush, plenty)

    assert (delivered.sent, gateway.command_ids, statuses(conn)) == (1, ["k1"], {"k1": "sent"})


def test_flush_gives_up_at_once_where_a_newer_connection_is_there(conn: Connection) -> None:
    """That one has a flush of its own."""
    provide(conn)
    connect(conn)
    connect(conn, connection_id="c2")
    gateway = SlowGateway(live_at=99)

    flush.flush(conn, gateway, FlushRequest(agent_id="a1", connection_id="c1", epoch=1), lambda: 1.0)

    assert gateway.looks == 1


def test_an_ack_over_a_connection_that_is_forgotten_stops_no_redelivery(conn: Connection) -> None:
    """I7: nobody knows of which attempt it is; a result counts."""
    provide(conn)
    connect(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    presence.record_disconnect(conn, "a1", "c1")

    receive(conn, "a1", "c1", '{"type": "ack", "payload": {"commandId": "k1"}}')
    after_ack = statuses(conn)
    receive(conn, "a1", "c1", '{"type": "complete", "payload": {"commandId": "k1"}}')

    assert (after_ack, statuses(conn)) == ({"k1": "sent"}, {"k1": "completed"})


def test_an_agents_status_changes_its_own_sessions_and_nobody_elses(conn: Connection) -> None:
    """The original updated anyone's."""
    for name in ("a1", "a2"):
        provide(conn, name)
        connect(conn, name, f"c-{name}")
        session_records.insert(
            conn, name=f"s-{name}", agent_id=name, owner="u", template="t", resources={}, persistent_home=False
        )

    for session in ("s-a1", "s-a2"):
        receive(
            conn, "a1", "c-a1", json.dumps({"type": "status", "payload": {"sessionId": session, "state": "failed"}})
        )

    states = conn.execute("select name, state from sessions order by name").fetchall()
    assert states == [("s-a1", "failed"), ("s-a2", "pending")]
