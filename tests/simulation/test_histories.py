"""A fixed set of random histories; `make faults` plays thousands."""

from tests.simulation.history_runner import Played, play, seeds_of
from tests.simulation.injected_faults import ActorFault, ConnectionFault, PostFault
from tests.simulation.invariants import INVARIANTS
from tests.simulation.simulation_database import SimulationDatabase

SEEDS = seeds_of(7, 300)
LEAST = 30
EVERY_FAULT = {*ConnectionFault, *PostFault, *ActorFault} - {PostFault.NONE}


def test_no_invariant_breaks_under_any_kind_of_fault(simulation_database: SimulationDatabase) -> None:
    """So many histories that every kind of fault occurs, and every invariant is checked."""
    total = Played()
    for seed in SEEDS:
        played = play(simulation_database, seed)
        assert played.failure is None, [seed, *played.failure.log_lines, *played.failure.violations]
        total.add(played)
        if total.histories >= LEAST and set(total.faults) >= EVERY_FAULT:
            break

    assert EVERY_FAULT - set(total.faults) == set()
    assert [name for name in INVARIANTS if not total.checks[name]] == []


def test_a_seed_always_plays_the_same_history(simulation_database: SimulationDatabase) -> None:
    """So a failure can be replayed."""
    for seed in SEEDS[:4]:
        first, second = (play(simulation_database, seed) for _ in range(2))

        assert first.log_lines == second.log_lines
        assert first == second


def test_the_first_history_of_a_run_has_the_seed_of_the_run() -> None:
    """So `make faults N=1 SEED=...` replays one history; runs with consecutive seeds share no history."""
    assert seeds_of(7, 1) == [7]
    assert len(set(seeds_of(7, 1000) + seeds_of(8, 1000))) == 2000
