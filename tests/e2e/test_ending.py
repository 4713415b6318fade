"""How a run takes the signals to end."""

import os
import signal
from collections.abc import Iterator

import pytest

from local import ending
from local.ending import Ending

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The codes with which the process would have ended; the signals are as before after the test."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield codes
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_before_anyone_listens_interrupts(exits: list[int]) -> None:
    """And its echo does not, wherever the interrupt is by then."""
    Ending()

    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)

    assert exits == []


def test_the_echo_of_a_signal_is_not_told(exits: list[int]) -> None:
    """However often it comes within a second."""
    told: list[str] = []
    Ending().tell(lambda: told.append("end"))

    for _ in range(3):
        signal.raise_signal(signal.SIGTERM)

    assert (told, exits) == (["end"], [])


def test_another_signal_or_the_same_a_second_later_ends_at_once(
    exits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person who asks twice means it."""
    Ending().tell(lambda: None)

    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
    monkeypatch.setattr(ending, "ECHO_SECONDS", 0.0)
    signal.raise_signal(signal.SIGINT)

    assert exits == [1, 1]
