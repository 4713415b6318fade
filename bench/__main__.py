"""`make bench`: measure the dispatcher beside its peers, through HTTP and WebSockets, in one run on one machine.

Absolute figures depend on the machine; the ratios count.  fsync is on, as in `make up`.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import resource
import sys
import tempfile
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import chart, machine, product, report
from bench.context import QUICK, Bench, Sizes
from bench.figures import BenchError, Figure
from bench.product import ROOT
from bench.raw_postgres import RawPostgres
from bench.rows import ROWS

RESULTS = ROOT / ".bench" / "results.json"
DOCUMENTS = ROOT / "docs"
INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended."""
BEGIN, END = "<!-- begin: written by make bench -->", "<!-- end -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 1 if a measurement failed, or with --strict if a target was missed."""
    options = _options(arguments)
    logging.disable(logging.INFO)  # of the functions that the rows call directly
    console = Console(highlight=False)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a thousand agents, and the product inherits it
    try:
        results = json.loads(options.read.read_text(encoding="utf-8")) if options.read else _measured(options, console)
    except KeyboardInterrupt:
        console.print("Interrupted; nothing is written.")
        return INTERRUPTED
    except BenchError as error:
        console.print(f"Failed: {error}", style="red", markup=False)
        return 1
    figures = [Figure.read(each) for each in results["figures"]]
    report.show(console, figures)
    for name, why in results["failures"].items():
        console.print(f"\n{name} failed: {why}", style="red", markup=False)
    if not options.read:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        options.json.with_suffix(".svg").write_text(chart.draw(figures), encoding="utf-8")
        console.print(f"\nWritten: {options.json} and {options.json.with_suffix('.svg').name}", markup=False)
    if options.publish:
        if results["quick"] or {figure.row for figure in figures} != set(ROWS):
            console.print("Not published: the results are of a quick run, or some rows are missing.", style="red")
            return 1
        publish(results, figures, DOCUMENTS)
    missed = options.strict and any(figure.met is False for figure in figures)
    return 1 if missed or results["failures"] else 0


def publish(results: dict[str, Any], figures: Sequence[Figure], documents: Path) -> None:
    """Write the results into the documentation: performance.json, performance.svg, and the table of performance.md."""
    (documents / "performance.json").write_text(
        json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (documents / "performance.svg").write_text(chart.draw(figures), encoding="utf-8")
    page = documents / "performance.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{section(results, figures)}\n{END}{after}", encoding="utf-8")


def section(results: dict[str, Any], figures: Sequence[Figure]) -> str:
    """Return the part of the page that comes from the results."""
    facts = "; ".join(f"{name} {value}" for name, value in {**results["machine"], **results["versions"]}.items())
    return f"Measured {results['at']}, {results['rounds']} rounds: {facts}.\n\n{report.markdown(figures)}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rows", default="", help=f"comma-separated: {','.join(ROWS)}; all without it")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that the bench works, measures little")
    parser.add_argument("--rounds", type=int, help="how often each contender is measured")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the results go")
    parser.add_argument("--read", type=Path, help="measure nothing; show the results of an earlier run")
    parser.add_argument("--publish", action="store_true", help="write the results into docs/; needs all rows in full")
    options = parser.parse_args(arguments)
    options.rows = [name for name in options.rows.split(",") if name] or list(ROWS)
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if options.publish and (options.quick or set(options.rows) != set(ROWS)):
        parser.error("--publish needs all rows, without --quick")
    return options


def _measured(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Run the rows; return the document of the results."""
    sizes = QUICK if options.quick else Sizes()
    if options.rounds:
        sizes = sizes.with_rounds(options.rounds)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure(options.rows, sizes, console))


@contextlib.contextmanager
def _folder() -> Generator[Path]:
    """Make a folder for all data of the run, on the disk of the temporary files."""
    with tempfile.TemporaryDirectory(prefix="dispatcher-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # a broker that is started as root changes to a user of its own
        yield folder


async def measure(rows: Sequence[str], sizes: Sizes, console: Console) -> dict[str, Any]:
    """Start the product, measure rows, and return the document of the results."""
    columns = (TextColumn("{task.description:16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(_folder())
        described = machine.describe(folder)
        with console.status("Starting the dispatcher …"):
            running = stack.enter_context(product.running(folder / "home"))
        raw = RawPostgres.create(running)
        stack.callback(raw.conn.close)
        versions = machine.versions(raw.conn)
        progress = stack.enter_context(Progress(*columns, console=console))
        bench = Bench(sizes=sizes, folder=folder, product=running, raw=raw, progress=progress, stack=stack)
        stack.push_async_callback(bench.disconnect_fleet)
        figures: list[Figure] = []
        failures: dict[str, str] = {}
        for name in [name for name in ROWS if name in rows]:
            try:
                figures += await ROWS[name](bench)
            except BenchError as error:  # the other rows still count
                failures[name] = str(error)
        return {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": sizes.with_rounds(0)
            != Sizes().with_rounds(0),  # fewer rounds measure the same, with less certainty
            "rounds": sizes.rounds,
            "machine": described,
            "versions": versions,
            "figures": [figure.document() for figure in figures],
            "failures": failures,
        }


if __name__ == "__main__":
    sys.exit(main())
