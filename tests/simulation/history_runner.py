"""Plays histories, in several processes; replays and shrinks the first one that breaks an invariant."""

import contextlib
import multiprocessing
import random
import traceback
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field

from tests.simulation.choices import Choices, Steps, shrink
from tests.simulation.invariants import violations_of
from tests.simulation.simulation_database import SimulationDatabase
from tests.simulation.simulator import Simulation
from tests.simulation.workload import Workload

_BATCH = 10
"""Histories that a process plays between two reports of its progress."""


@dataclass(slots=True)
class Played:
    """The result of one history, or of several."""

    histories: int = 0
    commands: int = 0
    deliveries: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])
    checks: Counter[str] = field(default_factory=Counter[str])
    log_lines: list[str] = field(default_factory=list[str])
    """Of one history only."""
    failure: "Failure | None" = None

    def add(self, other: "Played") -> None:
        """Add the counts of other histories, and keep the first failure."""
        self.histories += other.histories
        self.commands += other.commands
        self.deliveries += other.deliveries
        self.faults += other.faults
        self.checks += other.checks
        self.failure = self.failure or other.failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A history that breaks an invariant."""

    seed: int
    steps: Steps
    log_lines: list[str]
    violations: list[str]

    @property
    def broken(self) -> set[str]:
        """The names of the invariants that it breaks."""
        return {violation.partition(":")[0] for violation in self.violations}


def play(database: SimulationDatabase, seed: int, replayed: Steps | None = None) -> Played:
    """Play the history of a seed, or replay the steps of one, and check every invariant."""
    choices = Choices(seed, replayed)
    database.reset()
    simulation = Simulation(database, choices)
    played = Played(histories=1, faults=simulation.faults, log_lines=simulation.log_lines)
    try:
        with simulation.patched_layer():
            Workload(simulation, choices).play()
        violations = violations_of(simulation.history, played.checks)
    except Exception:  # noqa: BLE001 - an error of the dispatcher is a failure of this history, to be shown with its seed
        violations = [f"error: {traceback.format_exc()}"]
    played.commands = len(simulation.history.commands)
    played.deliveries = sum(post.arrived for post in simulation.history.posts)
    if violations:
        played.failure = Failure(seed=seed, steps=choices.steps, log_lines=simulation.log_lines, violations=violations)
    return played


def simplest(database: SimulationDatabase, failure: Failure) -> Failure:
    """Shrink a failing history: return the simplest one found that breaks one of the same invariants."""
    found = failure

    def replay(steps: Steps) -> Steps | None:
        nonlocal found
        again = play(database, failure.seed, steps).failure
        if again is None or not again.broken & failure.broken:
            return None
        found = again
        return again.steps

    shrink(failure.steps, replay)
    return found


def seeds_of(seed: int, n: int) -> list[int]:
    """Return the seeds of n histories: the first is the seed itself, so that N=1 replays a history."""
    draw = random.Random(seed)  # noqa: S311 - histories, no secrets
    return [seed, *(draw.randrange(2**48) for _ in range(n - 1))]


def play_all(urls: list[str], seeds: list[int], on_progress: Callable[[Played], None]) -> Played:
    """Play the histories of these seeds, with one process for each database, up to the first failure; shrink that."""
    total = Played()
    played = _in_this_process(urls[0], seeds) if len(urls) == 1 else _in_processes(urls, seeds)
    with contextlib.closing(played):
        for each in played:
            total.add(each)
            on_progress(total)
            if total.failure:
                break
    if total.failure:
        with contextlib.closing(SimulationDatabase(urls[0])) as database:
            total.failure = simplest(database, total.failure)
    return total


def _in_this_process(url: str, seeds: list[int]) -> Generator[Played]:
    with contextlib.closing(SimulationDatabase(url)) as database:
        for seed in seeds:
            yield play(database, seed)


def _in_processes(urls: list[str], seeds: list[int]) -> Generator[Played]:
    context = multiprocessing.get_context("spawn")
    free = context.Queue()
    for url in urls:
        free.put(url)
    with ProcessPoolExecutor(len(urls), context, _open_database, (free,)) as pool:
        batches = [pool.submit(_play_batch, seeds[start : start + _BATCH]) for start in range(0, len(seeds), _BATCH)]
        try:
            for batch in as_completed(batches):
                yield batch.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_databases: list[SimulationDatabase] = []
"""The database of this process."""


def _open_database(free: "multiprocessing.Queue[str]") -> None:
    _databases.append(SimulationDatabase(free.get()))


def _play_batch(seeds: list[int]) -> Played:
    total = Played()
    for seed in seeds:
        total.add(play(_databases[0], seed))
        if total.failure:
            break
    return total
