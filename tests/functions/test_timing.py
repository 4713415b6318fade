"""Time tells nobody which agents and operators there are."""

import statistics
import time
from collections.abc import Callable

import pytest

from dispatcher.access import login
from dispatcher.agents import agent_keys
from dispatcher.errors import NotAuthenticated
from dispatcher.platform.database import Connection
from tests.functions.conftest import AGENT

ROUNDS = 60


def pairwise_ratio(one: Callable[[], object], other: Callable[[], object], rounds: int) -> float:
    """Time two things in turns; return the median of the ratios, which a machine that slows down does not move."""
    ratios: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        one()
        between = time.perf_counter()
        other()
        ratios.append((between - began) / (time.perf_counter() - between))
    return statistics.median(ratios)


def test_a_wrong_key_takes_as_long_for_an_agent_that_exists_as_for_one_that_does_not(
    conn: Connection, agent: str
) -> None:
    """The look-up is by the key's hash, and never gets to the id."""
    wrong = "f" * 64

    ratio = pairwise_ratio(
        lambda: agent_keys.owner_of(conn, wrong, agent), lambda: agent_keys.owner_of(conn, wrong, "nobody"), ROUNDS
    )

    assert 0.5 < ratio < 2
    assert agent_keys.owner_of(conn, wrong, AGENT) is None


@pytest.mark.usefixtures("operators")
def test_a_wrong_password_takes_as_long_for_a_name_that_exists_as_for_one_that_does_not(conn: Connection) -> None:
    """Both pay for one argon2id."""

    def fail(username: str) -> None:
        conn.execute("delete from login_failures")
        with pytest.raises(NotAuthenticated):
            login.log_in(conn, username, "wrong", "192.0.2.1")

    fail("warm-up")

    ratio = pairwise_ratio(lambda: fail("admin"), lambda: fail("nobody"), 8)

    assert 0.5 < ratio < 2
