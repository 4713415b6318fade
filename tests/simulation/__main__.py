"""Play random histories of faults and check the invariants: python -m tests.simulation --n 1000 --seed 7."""

import argparse
import os
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.simulation.history_runner import Failure, Played, play_all, seeds_of
from tests.simulation.invariants import INVARIANTS
from tests.simulation.simulation_database import running_databases


def main(arguments: list[str] | None = None) -> int:
    """Play histories; return 1 if one breaks an invariant."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="number of histories (1000)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the first history; the others follow from it (7)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="number of processes (2)")
    options = parser.parse_args(arguments)
    console = Console()
    begun = time.monotonic()
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[counts]}"))
    with (
        running_databases(min(options.jobs, options.n)) as urls,
        Progress(TextColumn("histories"), *columns, console=console) as progress,
    ):
        task = progress.add_task("histories", total=options.n, counts="")

        def show(played: Played) -> None:
            counts = f"{played.commands} commands, {played.deliveries} deliveries, {played.faults.total()} faults" + (
                ", shrinking the history that failed" if played.failure else ""
            )
            progress.update(task, completed=played.histories, counts=counts)

        played = play_all(urls, seeds_of(options.seed, options.n), show)
    seconds = time.monotonic() - begun
    _print_counts(console, played)
    rate = played.histories / seconds
    console.print(f"{played.histories} histories in {seconds:.0f} s, {rate:.1f} per second, seed {options.seed}")
    if played.failure:
        _print_failure(console, played.failure)
        return 1
    console.print("No invariant is broken.")
    return 0


def _print_counts(console: Console, played: Played) -> None:
    table = Table("", "Invariant", "Checks", title="Invariants")
    for name, invariant in INVARIANTS.items():
        table.add_row(name, (invariant.__doc__ or "").splitlines()[0], f"{played.checks[name]:,}")
    console.print(table)
    table = Table("Fault", "Times", title="Faults")
    for name, count in played.faults.most_common():
        table.add_row(name, f"{count:,}")
    console.print(table)


def _print_failure(console: Console, failure: Failure) -> None:
    console.rule(f"[red]Seed {failure.seed} breaks an invariant; the simplest history that does")
    for number, line in enumerate(failure.log_lines, 1):
        console.print(f"{number:3}. {line}", markup=False, highlight=False, soft_wrap=True)
    for violation in failure.violations:
        console.print(violation, markup=False, style="red", soft_wrap=True)
    console.print(f"Replay it: make faults N=1 SEED={failure.seed}")


if __name__ == "__main__":
    sys.exit(main())
