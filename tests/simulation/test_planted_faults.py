"""The checker finds bugs: each one that is put into the dispatcher on purpose breaks the invariant that it must break."""

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from unittest import mock

import pytest

from tests.simulation import __main__ as command
from tests.simulation import workload
from tests.simulation.choices import shrink
from tests.simulation.fault_scenarios import Scenario, play_scenario
from tests.simulation.history_runner import play
from tests.simulation.invariants import INVARIANTS, violations_of
from tests.simulation.planted_fault import PlantedFault
from tests.simulation.planted_faults import PLANTED_FAULTS
from tests.simulation.simulation_database import SimulationDatabase

SCENARIOS = tuple(dict.fromkeys(fault.shown_by for fault in PLANTED_FAULTS))


def violations(database: SimulationDatabase, fault: PlantedFault) -> list[str]:
    """Play the scenario in which a planted fault shows, and check every invariant."""
    return violations_of(play_scenario(database, fault.shown_by), Counter())


def test_every_invariant_has_a_planted_fault() -> None:
    """So the check of every invariant can fail."""
    assert {fault.breaks for fault in PLANTED_FAULTS} == set(INVARIANTS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_scenario_breaks_no_invariant(
    simulation_database: SimulationDatabase, scenario: Callable[[Scenario], None]
) -> None:
    """Without a planted fault."""
    assert violations_of(play_scenario(simulation_database, scenario), Counter()) == []


@pytest.mark.parametrize("fault", PLANTED_FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_breaks_its_invariant(simulation_database: SimulationDatabase, fault: PlantedFault) -> None:
    """In the scenario in which it shows."""
    with fault.planted(simulation_database):
        broken = {violation.partition(":")[0] for violation in violations(simulation_database, fault)}

    assert fault.breaks in broken


def test_a_failure_prints_its_seed_and_the_simplest_history(
    simulation_database: SimulationDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make faults` ends with 1."""
    reversed_order = next(fault for fault in PLANTED_FAULTS if fault.name == "the order is reversed")
    monkeypatch.setattr(workload, "STEPS", 3)

    with (
        reversed_order.planted(simulation_database),
        mock.patch.object(command, "running_databases", return_value=nullcontext([simulation_database.url])),
    ):
        code = command.main(["--n", "30", "--seed", "3"])
        history = capsys.readouterr().out.partition("breaks an invariant")[2]
        seed = history.rpartition("make faults N=1 SEED=")[2].strip()
        again = play(simulation_database, int(seed))

    assert code == 1
    assert len(history.partition("no more faults")[0].splitlines()) < 12, history
    assert "\nI4: " in history
    assert again.failure is not None


def test_shrinking_removes_steps_and_faults() -> None:
    """It removes everything that does not matter for the failure: here only one step with its second choice matters."""

    def replay(steps: list[list[int]]) -> list[list[int]] | None:
        return steps if any(len(step) > 1 and step[1] == 4 for step in steps[1:]) else None

    assert shrink([[3], [1, 2], [5, 4, 6], [7]], replay) == [[], [0, 4]]
