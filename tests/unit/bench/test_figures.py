"""The statistics of the bench."""

import math
import shutil
from dataclasses import replace

import pytest

from bench.figures import Figure, Series, Target, percentile, ratios
from bench.peers import Peer
from bench.report import markdown


def figure(*samples: float, beside: tuple[float, ...] = (), target: Target | None = None) -> Figure:
    """Return a figure of some samples."""
    references = (Series(name="peer", samples=beside),) if beside else ()
    value = Series(name="dispatcher", samples=samples)
    return Figure(
        row="flush", what="a row", unit="commands/s", value=value, against="peer", references=references, target=target
    )


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """The machine was twice as slow in the second round, and for both."""
    measured = figure(10, 5, 9, beside=(20, 10, 10))

    assert measured.ratios == (0.5, 0.5, 0.9)
    assert measured.ratio == 0.5


def test_rounds_that_do_not_match_are_refused() -> None:
    """A ratio of samples of different rounds means nothing."""
    with pytest.raises(ValueError, match="shorter"):
        ratios((1, 2), (1,))


def test_a_reference_of_zero_gives_infinity() -> None:
    """Not an error: the run goes on."""
    assert ratios((1,), (0,)) == (math.inf,)


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target(of="ratio", at="least", limit=0.5), True),
        (Target(of="ratio", at="least", limit=0.6), False),
        (Target(of="ratio", at="most", limit=0.4), False),
        (Target(of="value", at="most", limit=10), True),
        (Target(of="value", at="least", limit=11), False),
        (None, None),
    ],
)
def test_a_target_is_for_the_value_or_for_the_ratio(target: Target | None, met: bool | None) -> None:  # noqa: FBT001
    """A figure without a target is neither met nor missed."""
    assert figure(10, beside=(20,), target=target).met is met


def test_another_peer_does_not_take_the_place_of_the_reference() -> None:
    """Mosquitto is missing, NATS is not: the target for Mosquitto stays open."""
    target = Target(of="ratio", at="least", limit=0.5)
    measured = replace(figure(10, beside=(20,), target=target), against="a missing peer")

    assert (measured.ratio, measured.met) == (None, None)


def test_a_target_for_a_ratio_is_open_without_its_reference() -> None:
    """A peer that is not installed is no miss."""
    assert figure(10, target=Target(of="ratio", at="least", limit=0.5)).met is None


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (0.1, 1)])
def test_a_percentile_is_a_sample_that_was_measured(percent: float, expected: float) -> None:
    """The nearest rank, without interpolation."""
    assert percentile(range(100, 0, -1), percent) == expected


def test_a_figure_is_the_same_after_it_was_written_and_read() -> None:
    """The page and the picture are made from the JSON file."""
    measured = figure(10, 12, beside=(20, 30), target=Target(of="ratio", at="least", limit=0.5))

    assert Figure.read(measured.document()) == measured


def test_the_page_says_what_was_not_measured() -> None:
    """A reader must not think that a row has fewer peers."""
    measured = replace(figure(10), missing=("Broker not measured, because broker is missing",), notes=("a note",))

    table = markdown([measured]).splitlines()

    assert table[-2:] == ["| a note | | | | |", "| Broker not measured, because broker is missing | | | | |"]


def test_a_peer_that_is_not_installed_says_what_to_install() -> None:
    """The run goes on without it."""
    broker = Peer(name="Broker", program="no-such-broker", debian="broker")
    library = Peer(name="Library", module="no_such_module.client", package="no-such-package")

    assert broker.missing == "Broker not measured, because no-such-broker is missing. Next: apt install broker"
    assert library.missing is not None
    assert "no-such-package is missing. Next: pip install" in library.missing


def test_a_peer_that_is_installed_is_measured() -> None:
    """Its program and its module are both there."""
    assert shutil.which("sh")
    assert Peer(name="Shell", module="json", program="sh").missing is None
