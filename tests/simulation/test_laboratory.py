"""The laboratory can fail: each fault that is put into the dispatcher on purpose is found, and by the right invariant."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.simulation import __main__ as command
from tests.simulation import runner
from tests.simulation.invariants import INVARIANTS, check_all
from tests.simulation.laboratory import Laboratory, databases
from tests.simulation.plants import PLANTS, Plant
from tests.simulation.runner import Result, play, quiet
from tests.simulation.scenes import SHOWN_BY, Scene

if TYPE_CHECKING:
    from tests.simulation.connection import FragileConnection


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of a database that histories can be played in."""
    with databases(1) as (one,):
        yield one


@pytest.fixture(scope="module")
def laboratory(url: str) -> Iterator[Laboratory]:
    """The laboratory."""
    one = Laboratory(url)
    with quiet():
        yield one
    one.close()


def violations(laboratory: Laboratory, plant: Plant) -> list[str]:
    """Play the scene in which a plant shows, and check it."""
    environments: list[FragileConnection] = []
    scene = Scene(laboratory, environments)
    try:
        with scene.world.enter():
            SHOWN_BY[plant.name](scene)
            scene.end()
    finally:
        for conn in environments:
            conn.close()
    return check_all(scene.world.record, Counter())


def test_every_invariant_has_a_fault_that_breaks_it() -> None:
    """None is checked by something that cannot fail."""
    assert {plant.breaks for plant in PLANTS} == set(INVARIANTS)
    assert {plant.name for plant in PLANTS} == set(SHOWN_BY)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_fault_breaks_its_invariant(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch, plant: Plant
) -> None:
    """And without it the same scene breaks none."""
    sound = violations(laboratory, plant)

    plant.put(monkeypatch)
    broken = {line.partition(":")[0] for line in violations(laboratory, plant)}

    assert (sound, plant.breaks in broken) == ([], True)


def test_a_failure_prints_the_seed_and_the_shortest_history(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And ends with 1."""
    next(plant for plant in PLANTS if plant.name == "the order is reversed").put(monkeypatch)
    shown: list[str] = []

    def play_here(_urls: object, n: int, chance: int, show: object) -> list[Result]:
        del show
        result = play(url, n, chance)
        shown.append("\n".join(result.failing or []))
        return [result]

    monkeypatch.setattr(command, "play_in_parallel", play_here)
    monkeypatch.setattr(runner, "STEPS", 3)
    code = command.main(["--n", "30", "--seed", "3", "--jobs", "1"])

    said = capsys.readouterr().out
    assert code == 1
    assert "broken with seed 3" in said
    assert "Again: python -m tests.simulation --n 30 --seed 3 --jobs 1" in said
    (history,) = shown
    assert len(history.split("── from here on everything is well ──")[0].splitlines()) < 12, history
    assert "I4" in history.splitlines()[-1]
