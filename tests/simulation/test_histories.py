"""A fixed set of random histories; `make faults` plays thousands."""

from tests.simulation.history_runner import Played, play, seeds_of
from tests.simulation.injected_faults import ActorFault, ConnectionFault, PostFault
from tests.simulation.invariants import INVARIANTS
from tests.simulation.simulation_database import SimulationDatabase

SEEDS = seeds_of(7, 60)
EVERY_FAULT = {*ConnectionFault, *PostFault, *ActorFault} - {PostFault.NONE}


def test_no_invariant_breaks_under_any_kind_of_fault(simulation_database: SimulationDatabase) -> None:
    """Every kind of fault occurs, and every invariant is checked."""
    total = Played()
    for seed in SEEDS:
        played = play(simulation_database, seed)
        assert played.failure is None, [seed, *played.failure.log_lines, *played.failure.violations]
        total.add(played)

    assert EVERY_FAULT - set(total.faults) == set()
    assert [name for name in INVARIANTS if not total.checks[name]] == []


def test_a_seed_always_plays_the_same_history(simulation_database: SimulationDatabase) -> None:
    """A failure can be replayed, also step by step."""
    for seed in SEEDS[:5]:
        first, second = (play(simulation_database, seed) for _ in range(2))

        assert first == second
