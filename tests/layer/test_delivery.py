"""Commands reach their agent, in order, whatever else the table holds."""

import json

import pytest

from dispatcher.commands import settlement
from dispatcher.commands.delivery import deliver
from dispatcher.commands.settlement import Reporter
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Posted
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put, statuses


def test_a_row_of_plain_sql_is_delivered_once_its_agent_connects(conn: Connection) -> None:
    """Everything but four columns is left to NULL or its default."""
    provide(conn)
    conn.execute(
        "insert into agent_commands (command_id, agent_id, action, payload) values ('k1', 'a1', 'stop_session', '{\"n\": 1}')"
    )
    gateway = FakeGateway()

    assert deliver(conn, gateway, "a1", plenty).sent == 0
    connect(conn)
    assert deliver(conn, gateway, "a1", plenty).sent == 1

    assert [(c, json.loads(f)) for c, f in gateway.frames] == [
        ("c1", {"type": "command", "payload": {"commandId": "k1", "action": "stop_session", "payload": {"n": 1}}})
    ]
    assert statuses(conn) == {"k1": "sent"}


def test_one_unacknowledged_command_at_a_time_and_the_next_after_the_ack(conn: Connection) -> None:
    """An agent of the first protocol has a window of one."""
    provide(conn)
    epoch = connect(conn)
    for number in range(3):
        put(conn, f"k{number}")
    gateway = FakeGateway()

    deliver(conn, gateway, "a1", plenty)
    first = list(gateway.command_ids)
    settlement.acknowledge(conn, Reporter(agent_id="a1", epoch=epoch), [("k0", None)])
    deliver(conn, gateway, "a1", plenty)

    assert (first, gateway.command_ids) == (["k0"], ["k0", "k1"])


@pytest.mark.parametrize(
    ("posted", "status", "connected"),
    [
        (Posted.GONE, "pending", False),
        (Posted.REFUSED, "pending", True),
        (Posted.TOO_LARGE, "failed", True),
        (Posted.UNKNOWN, "sent", True),
        (Posted.TAKEN, "sent", True),
    ],
)
def test_each_outcome_of_a_post_is_treated_as_what_it_is(
    conn: Connection, posted: Posted, status: str, *, connected: bool
) -> None:
    """410 forgets the connection, 413 fails the command, 429 and 5xx wait, a timeout waits for the ack."""
    provide(conn)
    connect(conn)
    put(conn, "k1")

    deliver(conn, FakeGateway(outcomes=[posted]), "a1", plenty)

    lease, connection = conn.execute("select lease_token, connection_id from agents").fetchone() or (0, 0)
    assert (statuses(conn), lease, connection is not None) == ({"k1": status}, None, connected)


def test_a_sweep_delivers_around_what_cannot_be_read(conn: Connection) -> None:
    """An unknown status is set aside with its reason; the rest goes on."""
    provide(conn, platform="docker")
    connect(conn)
    put(conn, "k1", session_id="s1")
    put(conn, "bad", status="zzz", session_id="s2")
    put(conn, "k2", status=None, created_at=None, priority=None, session_id="s3")
    gateway = FakeGateway()

    swept = sweep(conn, gateway, deadline=plenty)

    assert (gateway.command_ids, swept.loaded) == (["k1", "k2"], 2)
    assert statuses(conn) == {"k1": "sent", "bad": "dead", "k2": "sent"}
