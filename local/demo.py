"""`make demo`: Integration Test 3.2, command retry during agent downtime, played for people.

A dispatcher of its own (free port, temporary home), an agent in a process of its own that is killed with SIGKILL, and each
step of the bug report P1-COMMAND-SCAN-001 with what it shows.  Ends with 1 where a step is not as it should be.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg
from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table

from local import ports
from local.client import Client, Refused

SWEEP_SECONDS = 5
PATIENCE_SECONDS = 20.0
STORY = """\
In StreamSpace, one [b]NULL[/b] in the column [b]error_message[/b] broke the scan of pending commands.  \
Whoever stopped a session while its agent was away got a 202, and the session ran for ever.

Here is that very test, on a real PostgreSQL, with real processes.  What an operator is told, holds."""

console = Console(highlight=False)


class StepFailed(Exception):
    """A step did not show what it should."""


def main() -> int:
    """Play the story; return the exit code."""
    console.print(Panel(STORY, title="Test 3.2: a command for an agent that is away", border_style="cyan", width=100))
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="dispatcher-demo-") as folder:
            _play(Path(folder))
    except (StepFailed, Refused) as error:
        console.print(f"\n[bold red]✗ {error}[/]")
        return 1
    console.print(
        Panel(
            "Accepted while the agent was away, delivered when it came back, executed, reported: nothing lost, nothing stuck.\n"
            "Next: [b]make up[/b] runs the dispatcher for you; README.md shows the first command with curl.",
            title=f"[bold green]✓ as it should be[/], after {time.monotonic() - began:.0f} s",
            border_style="green",
            width=100,
        )
    )
    return 0


def _play(folder: Path) -> None:
    port = ports.any_free()
    with _dispatcher(folder, port) as (url, database_url, log), psycopg.connect(database_url, autocommit=True) as conn:
        client = Client.log_in(url, "admin", "demo-password")
        key = client.post("/api/v1/agents", {"agentId": "demo-agent", "platform": "kubernetes"})["apiKey"]
        start_agent = _agent_starter(url, key, folder)
        with contextlib.ExitStack() as processes:
            agent = start_agent(processes)
            _until("the agent is online", lambda: client.get("/api/v1/agents/demo-agent")["presence"] == "online")
            _story(client, conn, agent, lambda: start_agent(processes), log)


def _story(
    client: Client,
    conn: psycopg.Connection[tuple[Any, ...]],
    agent: subprocess.Popen[bytes],
    restart_agent: Callable[[], subprocess.Popen[bytes]],
    log: Path,
) -> None:
    _step(1, "An operator starts a session; the agent holds it as a real process")
    session = client.post("/api/v1/sessions", {"user": "admin", "template": "firefox-browser"})["name"]
    _told(f"POST /api/v1/sessions → [b]201[/] {session}")

    _step(2, "The session runs")
    _until("the session runs", lambda: client.get(f"/api/v1/sessions/{session}")["state"] == "running")
    _until("its process is there", lambda: _pids_of(session))
    _told(f"process {_pids_of(session)[0]} is [b]{session}[/]")

    _step(3, "The agent is killed: no goodbye, no chance to clean up")
    agent.kill()
    agent.wait()
    _told(f"kill -9 {agent.pid}")
    _until("it is noticed", lambda: client.get("/api/v1/agents/demo-agent")["presence"] == "offline")
    _expect(bool(_pids_of(session)), "the session runs on without its agent")

    _step(4, "The operator stops the session all the same")
    command = client.delete(f"/api/v1/sessions/{session}")["commandId"]
    _told(f"DELETE /api/v1/sessions/{session} → [b]202[/] {command}")

    _step(5, "The command waits in the table, with the NULL that broke the original")
    query = "select command_id, action, status, error_message from agent_commands where session_id = %s and action = %s"
    row = conn.execute(query, (session, "stop_session")).fetchone()
    _show_row(("command_id", "action", "status", "error_message"), row)
    _expect(row is not None and row[2:] == ("pending", None), "it is pending, and its error_message is NULL")
    _told(f"why? [i]{client.get(f'/api/v1/commands/{command}/why')['sentence']}[/]")

    _step(6, "The agent is back")
    restarted = time.monotonic()
    restart_agent()
    _until("the agent is online", lambda: client.get("/api/v1/agents/demo-agent")["presence"] == "online")

    _step(7, "The command reaches it")
    _until("the command is completed", lambda: client.get(f"/api/v1/commands/{command}")["status"] == "completed")
    _told(f"completed {time.monotonic() - restarted:.1f} s after the agent's process was started")
    _show_history(client.get(f"/api/v1/commands/{command}/history")["history"])

    _step(8, "The session's process is gone")
    _until("the process is gone", lambda: not _pids_of(session))
    state = client.get(f"/api/v1/sessions/{session}")["state"]
    _expect(state == "terminated", f"the session is {state}")
    _told(f"no process is [b]{session}[/] any more")

    _step(9, "A row written with psql, all else left to NULL, is found by the sweep; and the log has no scan error")
    conn.execute(
        "insert into agent_commands (command_id, agent_id, action, payload)"
        " values ('cmd-by-hand', 'demo-agent', 'stop_session', '{\"sessionId\": \"none\"}')"
    )
    _until("it is completed", lambda: client.get("/api/v1/commands/cmd-by-hand")["status"] == "completed")
    loaded = re.findall(r"Loaded [1-9]\d* pending commands", log.read_text())
    _expect(bool(loaded), "the sweep says what it loaded")
    errors = [
        line for line in log.read_text().splitlines() if re.search(r"Failed to scan|\"level\":\"(ERROR|CRITICAL)", line)
    ]
    _expect(not errors, f"the log has {len(errors)} errors: {errors[:1]}")
    _told(f"log: [b]{loaded[-1]}[/]; errors: none")


@contextlib.contextmanager
def _dispatcher(folder: Path, port: int) -> Generator[tuple[str, str, Path]]:
    """Run a dispatcher of our own; yield its URL, its database's and its log."""
    home = folder / "home"
    environment = {
        **os.environ,
        "DISPATCHER_HOME": str(home),
        "DISPATCHER_PORT": str(port),
        "DISPATCHER_ADMIN_PASSWORD": "demo-password",
        "DISPATCHER_SWEEP_SECONDS": str(SWEEP_SECONDS),
    }
    with (folder / "up.log").open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "local.up"], env=environment, stdout=output, stderr=output)
    try:
        with console.status("Starting PostgreSQL, the gateway and the functions …"):
            while not (home / "env").exists():
                if process.poll() is not None:
                    raise StepFailed(f"The dispatcher did not start:\n{(folder / 'up.log').read_text()}")
                time.sleep(0.05)
        settings = dict(shlex.split(line)[0].split("=", 1) for line in (home / "env").read_text().splitlines() if line)
        yield settings["DISPATCHER_URL"], settings["DATABASE_URL"], home / "logs" / "dispatcher.log"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _agent_starter(url: str, key: str, folder: Path) -> Callable[[contextlib.ExitStack], subprocess.Popen[bytes]]:
    state = folder / "agent"
    arguments = [sys.executable, "-m", "local.agent", "--url", url, "--id", "demo-agent", "--state", str(state)]

    def start(processes: contextlib.ExitStack) -> subprocess.Popen[bytes]:
        with (folder / "agent.log").open("ab") as output:
            agent = subprocess.Popen(arguments, env={**os.environ, "AGENT_API_KEY": key}, stdout=output, stderr=output)
        processes.callback(_end, agent)
        return agent

    return start


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        process.wait(timeout=10)


def _pids_of(session: str) -> list[int]:
    """Find the processes that a session is, as an operator on the agent's machine would: with ps."""
    listing = subprocess.run(["ps", "-eo", "pid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = (line.split(None, 2) for line in listing.splitlines())
    return [int(pid) for pid, stat, arguments in rows if session in arguments and not stat.startswith("Z")]


def _until(what: str, holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    with console.status(f"Waiting until {what} …"):
        while not holds():
            if time.monotonic() > end:
                raise StepFailed(f"Not within {PATIENCE_SECONDS:.0f} s: {what}")
            time.sleep(0.1)


def _expect(holds: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise StepFailed(f"Not so: {what}")


def _step(number: int, title: str) -> None:
    console.print()
    console.print(Rule(f"[bold cyan]{number}[/] [b]{title}[/]", align="left", style="dim"))


def _told(line: str) -> None:
    console.print(f"  {line}", soft_wrap=True)


def _show_row(names: tuple[str, ...], row: tuple[Any, ...] | None) -> None:
    table = Table(*names, box=None, padding=(0, 2, 0, 2), header_style="dim")
    table.columns[0].no_wrap = True
    if row is not None:
        table.add_row(*("[yellow]NULL[/]" if value is None else str(value) for value in row))
    console.print(table)


def _show_history(history: list[dict[str, Any]]) -> None:
    table = Table("when (UTC)", "status", "cause", box=None, padding=(0, 3, 0, 2), header_style="dim")
    for entry in history:
        style = "green" if entry["toStatus"] == "completed" else "none"
        table.add_row(entry["at"][11:23], f"[{style}]{entry['toStatus']}[/]", entry["cause"])
    console.print(table)


def _interrupted(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupted)
    sys.exit(main())
