"""Agents' keys: at most two at a time; timing reveals nothing."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dispatcher.access.roles import Operator, Role
from dispatcher.agents import agent_keys, connections, registry
from dispatcher.agents.connections import Origin
from dispatcher.commands import claims
from dispatcher.errors import Conflict
from dispatcher.platform.database import Connection, open_connection
from dispatcher.protocol.handshake import Handshake
from tests.fakes import FakeGateway
from tests.rows import create_agent, put, waits_for_lock

ADMIN = Operator(username="admin", role=Role.ADMIN)


def test_of_two_requests_at_once_only_one_gets_the_second_key(database_url: str, conn: Connection) -> None:
    """The other request waits until the first one has committed, and finds two keys."""
    create_agent(conn)
    agent_keys.issue(conn, "a1", ADMIN)

    with (
        open_connection(database_url) as first,
        open_connection(database_url) as second,
        ThreadPoolExecutor(1) as pool,
    ):
        with first.transaction():
            agent_keys.issue(first, "a1", ADMIN)
            other = pool.submit(agent_keys.issue, second, "a1", ADMIN)
            while not (other.done() or waits_for_lock(conn, second)):
                time.sleep(0.01)

        with pytest.raises(Conflict):
            other.result()


def test_a_wrong_key_takes_as_long_for_an_agent_that_exists_as_for_one_that_does_not(conn: Connection) -> None:
    """The look-up is by the key's hash and does not depend on the agent's id: the fastest of many rounds take as long."""
    create_agent(conn)
    agent_keys.issue(conn, "a1", ADMIN)
    wrong = "f" * 64
    seconds: dict[str, list[float]] = {"a1": [], "nobody": []}

    for _ in range(300):
        for agent_id, taken in seconds.items():
            begun = time.perf_counter()
            assert agent_keys.owner_of(conn, wrong, agent_id) is None
            taken.append(time.perf_counter() - begun)

    # Other work on this machine only adds to a round, so the minimum is what a look-up takes.
    assert 0.5 < min(seconds["a1"]) / min(seconds["nobody"]) < 2


@pytest.mark.parametrize("right", ["key", "approval", "agent"])
def test_a_worker_that_is_posting_loses_its_lease_with_the_agents_rights(conn: Connection, right: str) -> None:
    """Closing the connection may fail; no further message of the claim goes out."""
    create_agent(conn)
    key, _ = agent_keys.issue(conn, "a1", ADMIN)
    origin = Origin(key_id=str(key.key_id))
    connections.open_connection(conn, "a1", "c1", handshake=Handshake(), origin=origin)
    conn.execute("update agents set live = true")
    put(conn, "k1")
    claim = claims.claim(conn, "a1")
    assert claim is not None
    assert claims.is_held(conn, claim)

    if right == "key":
        agent_keys.revoke(conn, FakeGateway(), "a1", str(key.key_id), ADMIN)
    elif right == "approval":
        registry.set_approval(conn, FakeGateway(), "a1", "rejected", ADMIN)
    else:
        registry.delete(conn, FakeGateway(), "a1", ADMIN)

    assert not claims.is_held(conn, claim)
