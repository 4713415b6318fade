"""Plays many histories, in a process each for a part of them, and tells what occurred and what broke."""

import contextlib
import logging
import multiprocessing
import queue
import traceback
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.internal.conjecture.engine import ConjectureRunner
from hypothesis.stateful import run_state_machine_as_test

from dispatcher.platform.observability import logger
from tests.simulation.laboratory import Laboratory
from tests.simulation.machine import Histories, Tally

if TYPE_CHECKING:
    from tests.simulation.connection import FragileConnection

STEPS = 10
_TELL_EVERY = 5


@dataclass(slots=True)
class Result:
    """What one part of a run has come to so far."""

    seed: int
    n: int
    histories: int = 0
    commands: int = 0
    deliveries: int = 0
    rules: Counter[str] = field(default_factory=Counter[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    checks: Counter[str] = field(default_factory=Counter[str])
    finished: bool = False
    failing: list[str] | None = None
    """The shortest history that breaks something, line by line."""


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Log nothing of what is expected to go wrong; afterwards, as before: other tests of the process read the log."""
    ours, drivers = logger.log_level, logging.getLogger("psycopg")
    its = drivers.level
    logger.setLevel(logging.CRITICAL)
    drivers.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(ours)
        drivers.setLevel(its)


@quiet()
def play(
    url: str,
    n: int,
    chance: int,
    tell: Callable[[Result], None] = lambda _result: None,
    *,
    shortest: bool = True,
) -> Result:
    """Play n histories that follow from the seed; on a failure the shortest history that Hypothesis finds, or the first."""
    tally = Tally()
    laboratory = Laboratory(url)
    environments: list[FragileConnection] = []
    result = Result(seed=chance, n=n)

    def on_history() -> None:
        if tally.histories % _TELL_EVERY == 0:
            tell(_read(tally, result))

    tally.on_history = on_history
    machine: Any = seed(chance)(
        type("Histories", (Histories,), {"laboratory": laboratory, "environments": environments, "tally": tally})
    )
    try:
        # Hypothesis would play five variations of each history; five new ones find more.
        with mock.patch.object(ConjectureRunner, "generate_mutations_from"):
            run_state_machine_as_test(machine, settings=_settings(n, shortest=shortest))
    except BaseException as error:  # whatever it is, whoever waits for the result is told
        if isinstance(error, KeyboardInterrupt):
            raise
        broken = tally.failing or [*tally.lines, "", *traceback.format_exception(error)]
        result.failing = [line.rstrip() for line in broken]
    finally:
        for conn in environments:
            conn.close()
        laboratory.close()
    result.finished = True
    _read(tally, result)
    tell(result)
    return result


def _settings(n: int, *, shortest: bool) -> settings:
    return settings(
        max_examples=n,
        stateful_step_count=STEPS,
        database=None,
        deadline=None,
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
        suppress_health_check=(
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.large_base_example,
        ),
        phases=[Phase.generate, Phase.shrink] if shortest else [Phase.generate],
    )


def _read(tally: Tally, result: Result) -> Result:
    result.histories, result.commands, result.deliveries = tally.histories, tally.commands, tally.deliveries
    result.rules, result.faults, result.checks = tally.rules, tally.faults, tally.checks
    return result


def play_in_parallel(urls: list[str], n: int, chance: int, show: Callable[[list[Result]], None]) -> list[Result]:
    """Play n histories in as many processes as there are databases; `show` is told how it goes."""
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[Result] = context.Queue()
    shares = [n // len(urls) + (index < n % len(urls)) for index in range(len(urls))]
    seeds = [chance + 1_000_000 * index for index in range(len(urls))]
    parts = [
        context.Process(target=_play_part, args=(url, share, part_seed, told), daemon=True)
        for url, share, part_seed in zip(urls, shares, seeds, strict=True)
    ]
    for part in parts:
        part.start()
    results = {part_seed: Result(seed=part_seed, n=share) for part_seed, share in zip(seeds, shares, strict=True)}
    while not all(result.finished for result in results.values()):
        try:
            result = told.get(timeout=1.0)
        except queue.Empty:
            if not any(part.is_alive() for part in parts):
                raise RuntimeError("a part of the run ended without a word") from None
            continue
        results[result.seed] = result
        show(list(results.values()))
    for part in parts:
        part.join()
    return list(results.values())


def _play_part(url: str, n: int, chance: int, told: "multiprocessing.Queue[Result]") -> None:
    play(url, n, chance, told.put)
