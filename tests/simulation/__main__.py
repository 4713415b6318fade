"""Play randomised histories with faults: python -m tests.simulation --n 1000 --seed 7."""

import argparse
import os
import sys
import time
from collections import Counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.simulation.invariants import INVARIANTS
from tests.simulation.laboratory import databases
from tests.simulation.runner import Result, play_in_parallel


def main(arguments: list[str] | None = None) -> int:
    """Play histories; 1 where one breaks an invariant."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="how many histories (1000)")
    parser.add_argument("--seed", type=int, default=7, help="from which all of them follow (7)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="in how many processes")
    asked = parser.parse_args(arguments)
    console = Console()
    begun = time.monotonic()
    progress = Progress(
        TextColumn("histories"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[counts]}"),
        console=console,
    )
    with databases(asked.jobs) as urls, progress:
        task = progress.add_task("histories", total=asked.n, counts="")

        def show(results: list[Result]) -> None:
            counts = (
                f"{sum(r.commands for r in results)} commands, {sum(r.deliveries for r in results)} deliveries, "
                f"{sum(r.faults.total() for r in results)} faults"
            )
            progress.update(task, completed=sum(r.histories for r in results), counts=counts)

        results = play_in_parallel(urls, asked.n, asked.seed, show)
    seconds = time.monotonic() - begun
    _tables(console, results)
    histories = sum(result.histories for result in results)
    console.print(f"{histories} histories in {seconds:.0f} s, {histories / seconds:.1f} a second, seed {asked.seed}")
    failing = [result for result in results if result.failing]
    for result in failing:
        _explain(console, result)
    if not failing:
        console.print("No invariant was violated.")
    return 1 if failing else 0


def _tables(console: Console, results: list[Result]) -> None:
    checks, rules, faults = Counter[str](), Counter[str](), Counter[str]()
    for result in results:
        checks.update(result.checks)
        rules.update(result.rules)
        faults.update(result.faults)
    table = Table("", "invariant", "checked", title="What was checked")
    for name, invariant in INVARIANTS.items():
        table.add_row(name, (invariant.__doc__ or "").splitlines()[0], f"{checks[name]:,}")
    console.print(table)
    for title, counts in (("What the actors did", rules), ("What went wrong", faults)):
        table = Table("what", "times", title=title)
        for what, count in sorted(counts.items(), key=lambda item: -item[1]):
            table.add_row(what, f"{count:,}")
        console.print(table)


def _explain(console: Console, result: Result) -> None:
    console.rule(f"[red]broken with seed {result.seed}")
    steps = result.failing or []
    for number, line in enumerate(steps, 1):
        console.print(f"{number:3}. {line}" if line else "", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Again: python -m tests.simulation --n {result.n} --seed {result.seed} --jobs 1")


if __name__ == "__main__":
    sys.exit(main())
