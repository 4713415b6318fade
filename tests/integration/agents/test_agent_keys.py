"""Agents' keys: at most two at a time, and nothing to learn from timing."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from dispatcher.access.roles import Operator, Role
from dispatcher.agents import agent_keys
from dispatcher.errors import Conflict
from dispatcher.platform.database import Connection, open_connection
from tests.rows import create_agent

ADMIN = Operator(username="admin", role=Role.ADMIN)


def test_of_many_who_ask_for_a_key_at_once_one_gets_the_second(database_url: str, conn: Connection) -> None:
    """The agent has one key, and may have two."""
    create_agent(conn)
    agent_keys.issue(conn, "a1", ADMIN)
    barrier = threading.Barrier(6)

    def issue(_number: int) -> bool:
        with open_connection(database_url) as other:
            barrier.wait()
            try:
                agent_keys.issue(other, "a1", ADMIN)
            except Conflict:
                return False
        return True

    with ThreadPoolExecutor(6) as pool:
        issued = list(pool.map(issue, range(6)))

    assert issued.count(True) == 1
    assert conn.execute("select count(*) from agent_keys where revoked_at is null").fetchone() == (2,)


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
