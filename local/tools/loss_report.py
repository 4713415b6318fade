"""`make audit`: the loss check on the dispatcher of this machine, or on the database that DATABASE_URL names."""

import os
import sys
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from dispatcher.commands.loss_check import LossReport, check_for_loss
from dispatcher.platform.database import open_connection
from local import home as homes


def main() -> int:
    """Check and print; return 1 if an invariant is broken, 2 if there is no database."""
    console = Console(highlight=False)
    url = os.environ.get("DATABASE_URL") or _of_home()
    if url is None:
        console.print("There is no dispatcher here: `make up` starts one, or set DATABASE_URL.")
        return 2
    try:
        with open_connection(url) as conn:
            found = check_for_loss(conn)
    except psycopg.OperationalError as error:
        console.print(f"The database does not answer: {error}")
        return 2
    _show(console, found)
    return 0 if found.clean else 1


def _of_home() -> str | None:
    home = Path(os.environ.get("DISPATCHER_HOME", ".dispatcher"))
    return homes.variables(home).get("DATABASE_URL") if (home / "env").exists() else None


def _show(console: Console, found: LossReport) -> None:
    invariants = Table("", "invariant", "broken by", "for example", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for finding in found.findings:
        mark = "[red]✗[/]" if finding.offenders else "[green]✓[/]"
        invariants.add_row(mark, finding.check, str(finding.offenders), ", ".join(finding.some))
    console.print(invariants)
    console.print()
    figures = Table("figure", "", box=None, padding=(0, 2, 0, 2), header_style="dim")
    for name, value in found.figures.items():
        figures.add_row(name, f"{value:,.1f}" if name.endswith("_seconds") else f"{value:,.0f}")
    console.print(figures)


if __name__ == "__main__":
    sys.exit(main())
