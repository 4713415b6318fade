"""`make mutations`: put each regression back, one at a time, and show the test that fails."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.regressions.mutation import Mutation, OutOfDate, find_tests, read_product
from tests.regressions.selection import MUTATIONS

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 160
"""Columns of the table if there is no terminal."""
TEST_SECONDS = 60
"""A test that hangs for longer proves nothing."""
TESTS_FAILED = 1
"""pytest's exit code for failed tests; an error while collecting has another one."""
INVALID = re.compile(
    r"SyntaxError|NameError|UnboundLocalError|AttributeError|ImportError|Failed: Timeout"
    r"|missing FROM-clause|AmbiguousColumn|Indeterminate|query has \d+ place"
)
"""Errors that prove nothing: the mutation is not valid code, or hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The verdict about a mutation, and the output of pytest."""

    verdict: str
    """caught: the test failed; survived: it passed; invalid: it failed for another reason than the mutation."""
    seconds: float
    output: str

    @property
    def reason(self) -> str:
        """The message of the failed test."""
        said = re.search(r"^E +(.*)", self.output, re.MULTILINE)
        return said[1] if said else ""


def main() -> int:
    """Try the mutations; return 0 if each of them was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.regressions", description=__doc__)
    parser.add_argument(
        "--only",
        metavar="TEXT",
        default="",
        help="those with this text in their name, or with this reference (R16, I5)",
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="number of mutations at a time (2)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write the table to this file")
    asked = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    chosen = [each for each in MUTATIONS if asked.only in each.name or asked.only in each.stands_for]
    product, tests = read_product(ROOT), find_tests(ROOT)
    changes: dict[str, tuple[Path, str]] = {}
    for each in chosen:
        try:
            changes[each.name] = each.apply(product)
        except OutOfDate as error:
            console.print(str(error), markup=False, highlight=False, soft_wrap=True)
    if len(changes) < len(chosen):
        return 1
    address = {name: f"{path}::{name}" for name, (path, *_) in tests.items()}
    begun = time.monotonic()
    outcomes: dict[str, Outcome] = {}
    with ThreadPoolExecutor(asked.jobs) as pool:
        unchanged = pool.submit(_run, sorted({address[each.caught_by] for each in chosen}), None)
        running = {pool.submit(_run, [address[each.caught_by]], changes[each.name]): each for each in chosen}
        for done, future in enumerate(as_completed(running), start=1):
            mutation, outcome = running[future], future.result()
            outcomes[mutation.name] = outcome
            line = f"{done:3} of {len(chosen)}  {outcome.verdict:9} {mutation.name}: {outcome.reason}"
            console.print(line, markup=False, highlight=False, overflow="ellipsis", no_wrap=True)
            if outcome.verdict != "caught":
                console.print(outcome.output[-3000:], markup=False, highlight=False)
    _show(chosen, outcomes, console)
    if asked.report:
        asked.report.parent.mkdir(parents=True, exist_ok=True)
        with asked.report.open("w") as file:
            _show(chosen, outcomes, Console(file=file, width=WIDTH))
    caught = sum(outcome.verdict == "caught" for outcome in outcomes.values())
    console.print(f"{caught} of {len(chosen)} caught in {time.monotonic() - begun:.0f} s")
    if unchanged.result().verdict != "survived":
        console.print(unchanged.result().output[-3000:], markup=False, highlight=False)
        console.print("A test fails without a mutation, so nothing is proven.", style="red")
        return 1
    return 0 if chosen and caught == len(chosen) else 1


def _run(tests: Sequence[str], change: tuple[Path, str] | None) -> Outcome:
    """Run tests in a copy of the repository, with one file changed."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*"))
        if change:
            path, text = copy / change[0], change[1]
            path.write_text(text)
            # Python would use a compiled file of the same second and size instead of the changed source.
            shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
        options = ["-x", "--tb=short", "-rf", "-o", f"timeout={TEST_SECONDS}"]
        # In one process; the repository's own options are ignored.
        options += ["-o", "addopts=--import-mode=importlib"]
        # These plugins take a second to import, and no named test needs them.
        options += ["-p", "no:schemathesis", "-p", "no:hypothesispytest", "-p", "no:cacheprovider"]
        run = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=copy,
            env=kept
            | {
                "PYTHONPATH": f"{copy}:{copy / 'layers/dispatcher'}:{copy / 'clients/python/src'}",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    failed = run.returncode == TESTS_FAILED and not INVALID.search(run.stdout)
    verdict = "survived" if run.returncode == 0 else "caught" if failed else "invalid"
    return Outcome(verdict=verdict, seconds=time.monotonic() - begun, output=run.stdout)


def _show(chosen: Sequence[Mutation], outcomes: dict[str, Outcome], console: Console) -> None:
    table = Table("mutation, and the test that caught it", "reference", "puts back", "seconds")
    for each in chosen:
        outcome = outcomes[each.name]
        caught = outcome.verdict == "caught"
        by = each.caught_by if caught else outcome.verdict.upper()
        what = f"[bold]{each.name}[/]\n{by}"
        references = " ".join(each.stands_for)
        table.add_row(what, references, each.puts_back, f"{outcome.seconds:.1f}", style=None if caught else "red")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
