"""`make mutations`: put each regression back, one at a time, and tell which test turned red."""

import argparse
import contextlib
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from local.postgres import server as postgres
from tests.conftest import FAST, scratch
from tests.regressions.matrix import DOCUMENT, rendered
from tests.regressions.mutation import Mutation, OutOfDate
from tests.regressions.table import MUTATIONS
from tests.regressions.workbench import Outcome, Verdict, Workbench

ROOT = Path(__file__).resolve().parents[2]
EVERY = 20
"""Mutations after which a log, where no bar can be drawn, gets a line."""
COLOURS = {Verdict.CAUGHT: "green", Verdict.SURVIVED: "bold red", Verdict.BROKE: "bold yellow"}


def main() -> int:
    """Run, and say how it went: 0 where every mutation was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.regressions", description=__doc__)
    parser.add_argument("--only", metavar="NAME", help="those whose name has this in it")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="how many at a time (2)")
    parser.add_argument("--verbose", action="store_true", help="tell how each test failed")
    parser.add_argument("--write", action="store_true", help=f"only write {DOCUMENT}, and run nothing")
    arguments = parser.parse_args()
    console = Console()
    if arguments.write:
        (ROOT / DOCUMENT).write_text(rendered())
        return 0
    chosen = [each for each in MUTATIONS if not arguments.only or arguments.only in each.name]
    try:
        for mutation in chosen:
            mutation.check(ROOT)
    except OutOfDate as error:
        console.print(f"[red]{error}[/]", soft_wrap=True)
        return 1
    outcomes = _try_out(chosen, max(1, min(arguments.jobs, len(chosen))), console)
    if outcomes is None:
        return 1
    if arguments.verbose:
        _explain(outcomes, console)
    _report(outcomes, console)
    return 0 if outcomes and all(each.verdict is Verdict.CAUGHT for each in outcomes) else 1


def _try_out(chosen: list[Mutation], jobs: int, console: Console) -> list[Outcome] | None:
    """Try each mutation; None where the tests fail without any."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mutations-")))
        server = stack.enter_context(postgres.running(stack.enter_context(scratch()), settings=FAST))
        benches: SimpleQueue[Workbench] = SimpleQueue()
        made = [
            stack.enter_context(contextlib.closing(Workbench(ROOT, folder / f"copy-{number}", server.url)))
            for number in range(jobs)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        console.print(f"{len(chosen)} mutations; first their tests without any")
        tests = sorted({test for mutation in chosen for test in mutation.caught_by})
        shares = [tests[at::jobs] for at in range(min(jobs, len(tests)))]
        for failure in pool.map(Workbench.baseline, made, shares):
            if failure is not None:
                console.print(failure, "[red]These tests fail as it is.[/]", markup=True, highlight=False)
                return None
        for bench in made:
            benches.put(bench)

        def at_a_bench(mutation: Mutation) -> Outcome:
            bench = benches.get()
            try:
                return bench.try_out(mutation)
            finally:
                benches.put(bench)

        progress = stack.enter_context(
            Progress(TextColumn("{task.description:34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        )
        task = progress.add_task("", total=len(chosen))
        running = {pool.submit(at_a_bench, mutation): mutation for mutation in chosen}
        for done, future in enumerate(as_completed(running), start=1):
            outcome = future.result()
            progress.update(task, advance=1, description=outcome.mutation.name[:34])
            if not console.is_terminal and done % EVERY == 0:
                console.print(f"{done} of {len(chosen)}")
            if outcome.verdict is not Verdict.CAUGHT:
                progress.console.print(outcome.mutation.name, outcome.verdict.value, style=COLOURS[outcome.verdict])
        found = {future.result().mutation.name: future.result() for future in running}
        return [found[mutation.name] for mutation in chosen]


def _explain(outcomes: list[Outcome], console: Console) -> None:
    """Say what each failed test said: a mutation that is no valid code any more proves nothing."""
    for each in outcomes:
        said = [line for line in each.output.splitlines() if line.startswith("E  ")]
        console.print(f"[bold]{each.mutation.name}[/]")
        console.print("\n".join(said[:6]), markup=False, highlight=False, soft_wrap=True)


def _report(outcomes: list[Outcome], console: Console) -> None:
    table = Table("mutation", "puts back", "caught by", "seconds")
    for each in outcomes:
        by = each.caught_by.rpartition("::")[2] or each.verdict.value
        table.add_row(
            each.mutation.name,
            each.mutation.puts_back,
            by.partition("[")[0],
            f"{each.seconds:.1f}",
            style=None if each.verdict is Verdict.CAUGHT else COLOURS[each.verdict],
        )
    console.print(table)
    for each in outcomes:
        if each.verdict is not Verdict.CAUGHT:
            console.rule(f"{each.mutation.name}: {each.verdict}")
            console.print(each.output[-3000:], markup=False, highlight=False)
    caught = sum(each.verdict is Verdict.CAUGHT for each in outcomes)
    console.print(f"{caught} of {len(outcomes)} caught")


if __name__ == "__main__":
    sys.exit(main())
