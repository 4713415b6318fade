"""Integration Test 3.2, command retry during agent downtime, step by step, on any dispatcher.

The agent runs in its own process, which is killed with SIGKILL.  Each step of the bug report P1-COMMAND-SCAN-001 prints
what it finds, and raises StepFailed if a check fails.
"""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from rich.console import Console
from rich.rule import Rule
from rich.table import Table

from local.http_client import Client

AGENT = "demo-agent"

console = Console(highlight=False)


class StepFailed(Exception):
    """A check of a step failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A dispatcher, its database, its log, and a folder for the agent.

    `patience` is the limit in seconds for each event, `sweep_patience` the limit for the next sweep.
    """

    client: Client
    conn: psycopg.Connection[tuple[Any, ...]]
    log: Callable[[], str]
    folder: Path
    patience: float = 20.0
    sweep_patience: float = 20.0

    def run(self) -> None:
        """Run all steps, from a new agent to a log without errors; raises StepFailed or Refused."""
        key = self.client.post("/api/v1/agents", {"agentId": AGENT, "platform": "kubernetes"})["apiKey"]
        with contextlib.ExitStack() as processes:
            agent = self._start_agent(key, processes)
            until("the agent is online", lambda: self._presence() == "online", self.patience)
            session = self._kill_agent(agent)
            command = self._stop_session(session)
            self._deliver(session, command, lambda: self._start_agent(key, processes))
            self._sweep()

    def _kill_agent(self, agent: subprocess.Popen[bytes]) -> str:
        step(1, "An operator starts a session; the agent holds it as a real process")
        session: str = self.client.post("/api/v1/sessions", {"user": "admin", "template": "firefox-browser"})["name"]
        show(f"POST /api/v1/sessions → [b]201[/] {session}")

        step(2, "The session runs")
        until("the session runs", lambda: self._state(session) == "running", self.patience)
        until("its process is there", lambda: _pids_of(session), self.patience)
        show(f"process {_pids_of(session)[0]} is [b]{session}[/]")

        step(3, "The agent is killed and cannot clean up")
        agent.kill()
        agent.wait()
        show(f"kill -9 {agent.pid}")
        until("the agent is offline", lambda: self._presence() == "offline", self.patience)
        expect(bool(_pids_of(session)), "the session still runs without its agent")
        return session

    def _stop_session(self, session: str) -> str:
        step(4, "The operator stops the session")
        command: str = self.client.delete(f"/api/v1/sessions/{session}")["commandId"]
        show(f"DELETE /api/v1/sessions/{session} → [b]202[/] {command}")

        step(5, "The command waits in the table, with the NULL that broke the original")
        query = (
            "select command_id, action, status, error_message from agent_commands where session_id = %s and action = %s"
        )
        row = self.conn.execute(query, (session, "stop_session")).fetchone()
        _show_row(("command_id", "action", "status", "error_message"), row)
        expect(row is not None and row[2:] == ("pending", None), "it is pending, and its error_message is NULL")
        show(f"why? [i]{self.client.get(f'/api/v1/commands/{command}/why')['sentence']}[/]")
        return command

    def _deliver(self, session: str, command: str, restart_agent: Callable[[], object]) -> None:
        step(6, "The agent starts again")
        restarted = time.monotonic()
        restart_agent()
        until("the agent is online", lambda: self._presence() == "online", self.patience)

        step(7, "The agent gets the command")
        until("the command is completed", lambda: self._status(command) == "completed", self.patience)
        show(f"completed {time.monotonic() - restarted:.1f} s after the agent's process was started")
        _show_history(self.client.get(f"/api/v1/commands/{command}/history")["history"])

        step(8, "The session's process is gone")
        until("the process is gone", lambda: not _pids_of(session), self.patience)
        state = self._state(session)
        expect(state == "terminated", f"the session is terminated; it is {state}")
        show(f"process {session} has ended")

    def _sweep(self) -> None:
        step(9, "A row written with psql is found by the sweep; the log has no errors")
        show("inserted: command_id, agent_id, action, payload; all other columns are [yellow]NULL[/]")
        self.conn.execute(
            "insert into agent_commands (command_id, agent_id, action, payload)"
            " values ('cmd-by-hand', %s, 'stop_session', '{\"sessionId\": \"none\"}')",
            (AGENT,),
        )
        until("it is completed", lambda: self._status("cmd-by-hand") == "completed", self.sweep_patience)
        # The log line may appear a moment after the delivery.
        until(
            "the sweep has logged what it loaded",
            lambda: re.search(r"Loaded [1-9]\d* pending", self.log()),
            self.patience,
        )
        log = self.log()
        errors = [line for line in log.splitlines() if re.search(r"Failed to scan|\"level\":\"(ERROR|CRITICAL)", line)]
        expect(not errors, f"the log has no errors; it has {len(errors)}, first {errors[:1]}")
        show(f"log: [b]{re.findall(r'Loaded [1-9][0-9]* pending commands', log)[-1]}[/]; errors: none")

    def _presence(self) -> object:
        return self.client.get(f"/api/v1/agents/{AGENT}")["presence"]

    def _state(self, session: str) -> object:
        return self.client.get(f"/api/v1/sessions/{session}")["state"]

    def _status(self, command: str) -> object:
        return self.client.get(f"/api/v1/commands/{command}")["status"]

    def _start_agent(self, key: str, processes: contextlib.ExitStack) -> subprocess.Popen[bytes]:
        where = ["--url", self.client.url, "--id", AGENT, "--state", str(self.folder / "agent")]
        # A heartbeat delivers what is due, too: it comes after the last step, so that the sweep does it.
        where += ["--heartbeat", "140"]
        with (self.folder / "agent.log").open("ab") as output:
            agent = subprocess.Popen(
                [sys.executable, "-m", "examples.reference_agent", *where],
                env={**os.environ, "AGENT_API_KEY": key},
                stdout=output,
                stderr=output,
            )
        processes.callback(end, agent)
        return agent


def end(process: subprocess.Popen[bytes], *, patience: float = 10.0) -> None:
    """End a process that may have ended already, and wait for it."""
    if process.poll() is None:
        process.terminate()
        process.wait(patience)


def until(what: str, holds: Callable[[], object], patience: float) -> None:
    """Wait until a condition holds; raises StepFailed after `patience` seconds."""
    deadline = time.monotonic() + patience
    with console.status(f"Waiting until {what} …"):
        while not holds():
            if time.monotonic() > deadline:
                raise StepFailed(f"Check failed: not within {patience:.0f} s: {what}")
            time.sleep(0.1)


def expect(holds: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise StepFailed unless the condition holds."""
    if not holds:
        raise StepFailed(f"Check failed: {what}")


def step(number: int | str, title: str) -> None:
    """Print the heading of a step."""
    console.print()
    console.print(Rule(f"[bold cyan]{number}[/] [b]{title}[/]", align="left", style="dim"))


def show(line: str) -> None:
    """Print one finding."""
    console.print(f"  {line}", soft_wrap=True)


def _pids_of(session: str) -> list[int]:
    """Find the processes that have a session's name in their command line."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and any(session in argument for argument in process.info["cmdline"] or ())
    ]


def _show_row(names: tuple[str, ...], row: tuple[Any, ...] | None) -> None:
    """Print a row with its columns below each other, because they do not fit into 80 characters."""
    table = Table.grid(padding=(0, 2))
    for name, value in zip(names, row or (), strict=bool(row)):
        table.add_row(f"  [dim]{name}[/]", "[yellow]NULL[/]" if value is None else str(value))
    console.print(table)


def _show_history(history: list[dict[str, Any]]) -> None:
    table = Table("when (UTC)", "status", "cause", box=None, padding=(0, 3, 0, 2), header_style="dim")
    for entry in history:
        style = "green" if entry["toStatus"] == "completed" else "none"
        table.add_row(entry["at"][11:23], f"[{style}]{entry['toStatus']}[/]", entry["cause"])
    console.print(table)
