"""`make demo`: Integration Test 3.2, command retry during agent downtime, for people to watch.

It starts a dispatcher (free port, temporary home) and runs the steps of local/demo/scenario.py.  It ends with 1 if a check
fails.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from io import TextIOWrapper
from pathlib import Path

import psycopg
from rich.panel import Panel

from local import home as homes
from local.demo.scenario import Scenario, StepFailed, console, end
from local.http_client import Client, Refused

SWEEP_SECONDS = 5
INTRODUCTION = """\
In StreamSpace, one [b]NULL[/b] in the column [b]error_message[/b] broke the scan of pending commands.  \
An operator who stopped a session while its agent was offline got a 202, and the session ran for ever.

This is that test, on a real PostgreSQL, with real processes."""


def main() -> int:
    """Run the scenario; return the exit code."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the terminal's encoding may have no lines and arrows
    console.print(Panel(INTRODUCTION, title="Test 3.2: a command for an offline agent", border_style="cyan", width=100))
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="dispatcher-demo-") as folder:
            _run(Path(folder))
    except (StepFailed, Refused) as error:
        console.print(f"\n[bold red]✗ {error}[/]")
        return 1
    console.print(
        Panel(
            "Accepted while the agent was offline, delivered when it was back, executed, reported: nothing lost or stuck.\n"
            "Next: [b]make up[/b] runs the dispatcher for you; README.md shows the first command with curl.",
            title=f"[bold green]✓ all checks passed[/], after {time.monotonic() - began:.0f} s",
            border_style="green",
            width=100,
        )
    )
    return 0


def _run(folder: Path) -> None:
    with _dispatcher(folder) as (url, database_url, log), psycopg.connect(database_url, autocommit=True) as conn:
        client = Client.log_in(url, "admin", "demo-password")
        Scenario(client=client, conn=conn, log=lambda: log.read_text("utf-8", "replace"), folder=folder).run()


@contextlib.contextmanager
def _dispatcher(folder: Path) -> Generator[tuple[str, str, Path]]:
    """Run a new dispatcher; yield its URL, the URL of its database, and its log."""
    home = folder / "home"
    environment = {
        **os.environ,
        "DISPATCHER_HOME": str(home),
        "DISPATCHER_PORT": "0",
        "DISPATCHER_ADMIN_PASSWORD": "demo-password",
        "DISPATCHER_SWEEP_SECONDS": str(SWEEP_SECONDS),
    }
    with (folder / "up.log").open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "local.up"], env=environment, stdout=output, stderr=output)
    try:
        with console.status("Starting PostgreSQL, the gateway and the functions …"):
            while not (home / "env").exists():
                if process.poll() is not None:
                    raise StepFailed(
                        f"The dispatcher did not start:\n{(folder / 'up.log').read_text('utf-8', 'replace')}"
                    )
                time.sleep(0.05)
        settings = homes.variables(home)
        yield settings["DISPATCHER_URL"], settings["DATABASE_URL"], home / "logs" / "dispatcher.log"
    finally:
        end(process, patience=30)


def _ended(_number: int, _frame: object) -> None:
    sys.exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _ended)
    sys.exit(main())
