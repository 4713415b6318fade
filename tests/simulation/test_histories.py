"""Some histories of faults; `make faults` plays thousands."""

from collections.abc import Iterator

import pytest

from tests.simulation.invariants import INVARIANTS
from tests.simulation.laboratory import databases
from tests.simulation.runner import play

HISTORIES = 40
SEED = 7


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of a database that histories can be played in."""
    with databases(1) as (one,):
        yield one


def test_no_invariant_breaks_in_some_histories(url: str) -> None:
    """And each of them was looked at."""
    result = play(url, HISTORIES, SEED)

    assert result.failing is None, "\n".join(result.failing)
    assert result.histories >= HISTORIES
    assert [name for name in INVARIANTS if not result.checks[name]] == []
    assert result.faults.total() > HISTORIES


def test_a_seed_plays_the_same_histories_again(url: str) -> None:
    """A failure can be looked at twice."""
    once, again = (play(url, 8, SEED) for _ in range(2))

    assert (once.rules, once.faults, once.commands, once.deliveries) == (
        again.rules,
        again.faults,
        again.commands,
        again.deliveries,
    )
