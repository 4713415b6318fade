"""The pause before the next try."""

import pytest

from dispatcher.commands.delivery import backoff


@pytest.mark.parametrize(("attempt", "most"), [(1, 1), (2, 2), (4, 8), (7, 60), (1000, 60)])
def test_the_pause_before_the_next_try_is_doubled_up_to_a_minute_and_half_of_it_is_random(
    attempt: int, most: float
) -> None:
    """Jitter spreads commands that were refused together; the limit keeps later pauses short."""
    pauses = [backoff(attempt) for _ in range(200)]

    assert most / 2 <= min(pauses) < max(pauses) <= most
    assert max(pauses) - min(pauses) > most / 4
