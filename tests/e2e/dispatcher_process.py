"""`make up` in its own process: started, ended, killed and started again on one home."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import psutil
import psycopg

from local import home as homes
from local.http_client import Client

ROOT = Path(__file__).parents[2]
PASSWORD = "test-password"
PATIENCE = 30.0
"""Seconds for anything to happen on a busy machine."""


def until(holds: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class Dispatcher:
    """A dispatcher on one home; it gets a free port when it is first started, and keeps it."""

    process: subprocess.Popen[str]

    def __init__(self, home: Path, *command: str, port: str = "0", **variables: str) -> None:
        """`command` replaces `python -m local.up`, `variables` are added to its environment."""
        self.home = home
        self._command = command or (sys.executable, "-m", "local.up")
        self._port = port
        self._variables = variables
        self._output = home.parent / f"{home.name}.output"

    def launch(self) -> None:
        """Start the process, and do not wait until it serves."""
        with self._output.open("ab") as output, self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": f"{ROOT}:{ROOT / 'layers/dispatcher'}",
                    "DISPATCHER_HOME": str(self.home),
                    "DISPATCHER_PORT": self._port,
                    **self._variables,
                },
                stdout=output,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start the process and wait until it serves."""
        (self.home / "env").unlink(missing_ok=True)
        self.launch()
        until(lambda: (self.home / "env").exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.errors
        self._port = self.url.rpartition(":")[2]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the process with a signal; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """Kill the process, without a chance to clean up."""
        self.process.kill()
        self.process.wait()

    @property
    def _errors(self) -> Path:
        return self._output.with_suffix(".errors")

    @property
    def output(self) -> str:
        """Its standard output so far."""
        return self._output.read_text()

    @property
    def errors(self) -> str:
        """Its standard error so far."""
        return self._errors.read_text()

    @property
    def log(self) -> str:
        """The log of its functions so far."""
        return (self.home / "logs" / "dispatcher.log").read_text()

    @property
    def environment(self) -> dict[str, str]:
        """The variables in the file `env`."""
        return homes.variables(self.home)

    @property
    def url(self) -> str:
        """Its URL."""
        return self.environment["DISPATCHER_URL"]

    @property
    def database_url(self) -> str:
        """Its database, as for psql."""
        return self.environment["DATABASE_URL"]

    def database(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect to its database, as psql does."""
        return psycopg.connect(self.database_url, autocommit=True)

    def client(self, password: str = PASSWORD) -> Client:
        """Log in as admin; raises Refused."""
        return Client.log_in(self.url, "admin", password)

    def processes(self) -> list[str]:
        """Return the command lines of all processes that work in its home."""
        found: list[str] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(self.home) in f"{process.cmdline()} {process.environ()}":
                    found.append(" ".join(process.cmdline()))
        return found


@contextlib.contextmanager
def up(home: Path, *command: str, port: str = "0", **variables: str) -> Generator[Dispatcher]:
    """Start a dispatcher and wait until it serves; after the block kill it, if it still runs."""
    with launched(home, *command, port=port, **variables) as dispatcher:
        dispatcher.start()
        yield dispatcher


@contextlib.contextmanager
def launched(home: Path, *command: str, port: str = "0", **variables: str) -> Generator[Dispatcher]:
    """Yield a dispatcher that is not started yet; after the block kill it, if it still runs."""
    dispatcher = Dispatcher(home, *command, port=port, **variables)
    try:
        yield dispatcher
    finally:
        if dispatcher.process.poll() is None:
            dispatcher.kill()
            until(lambda: dispatcher.processes() == [])
