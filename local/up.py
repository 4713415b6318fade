"""`make up`: the whole dispatcher on this machine, until Ctrl-C.

    python -m local.up

DISPATCHER_PORT, DISPATCHER_HOME, DISPATCHER_ADMIN_PASSWORD, DISPATCHER_SWEEP_SECONDS and the parameters of
template.yaml, such as DISPATCHER_QUEUE_LIMIT, configure it.
"""

import asyncio
import contextlib
import gc
import os
import secrets
import shlex
import shutil
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import uvloop

from local import home as homes
from local import ports
from local.apigateway.listener import Gateway
from local.console import Console, LogFile
from local.lambda_runtime.runtime import Runtime
from local.options import OptionError, Options
from local.postgres import server as postgres
from local.postgres.unprivileged import UnprivilegedError
from local.sam_template import parameters
from local.sam_template.intrinsics import read
from local.sam_template.resources import Deployment, TemplateError

TEMPLATE = Path(__file__).parents[1] / "template.yaml"
MIGRATE = "MigrateFunction"
PATIENCE = 8.0
"""Seconds that an earlier run on the same home, and its PostgreSQL, may take to end."""
WATCH_SECONDS = 0.5
WITHOUT_TIMEOUT = "?options=-c%20statement_timeout%3D0"
"""The end of the database's URL outside of the functions.

The functions' role cancels a statement after 30 s; an operator who inserts a million rows with psql may take longer.
"""


class MigrationError(RuntimeError):
    """The schema could not be migrated; the text says why, and what to do next."""


class StoppedError(RuntimeError):
    """A running dispatcher cannot go on; the text says why, and what to do next."""


STARTUP_ERRORS = (
    *(MigrationError, OptionError, homes.HomeError, ports.PortInUseError),
    *(postgres.PostgresError, UnprivilegedError, TemplateError, OSError),
)


def main() -> int:
    """Run until a signal comes; return the exit code: 0 for an orderly end."""
    console = Console()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(console, time.monotonic()))
    except StoppedError as error:
        print(f"\nStopped: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except STARTUP_ERRORS as error:
        hint = "\nNext: correct what it says, and start again." if isinstance(error, OSError) else ""
        print(f"\nStartup failed: {error}{hint}", file=sys.stderr)  # noqa: T201
        return 1
    console.line("Ended.")
    return 0


async def _run(console: Console, began: float) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP comes or PostgreSQL ends; then end everything in order."""
    stop = _signalled()
    options = Options.read(os.environ)
    given = parameters.from_environment(read(TEMPLATE), os.environ)
    with contextlib.ExitStack() as stack:
        stack.enter_context(homes.claimed(options.home, patience=PATIENCE))
        listener = stack.enter_context(ports.listen(options.port))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        env = options.home / "env"
        env.unlink(missing_ok=True)  # it is left from a killed run: programs must wait for the file of this run
        stack.callback(env.unlink, missing_ok=True)
        with console.step("PostgreSQL"):
            database = postgres.started(options.home, patience=PATIENCE, log=console.line)
            server = await asyncio.to_thread(stack.enter_context, database)
        log = LogFile(options.home / "logs" / "dispatcher.log")
        stack.callback(log.close)
        up = _Up(options=options, url=url, server=server, console=console, log=log)
        runtime = Runtime(
            Deployment.load(TEMPLATE, parameters={**given, "ConnectionsUrl": url}),
            gateway_url=url,
            log=up.event,
            environment=up.environment(),
        )
        work: list[asyncio.Task[Any]] = [
            asyncio.create_task(up.serve(runtime, listener, began)),
            asyncio.create_task(up.watch()),
            asyncio.create_task(stop.wait()),
        ]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            console.line("Ending.")
            for task in work:
                task.cancel()
            outcomes = await asyncio.gather(*work, return_exceptions=True)
            await runtime.close()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome


def _signalled() -> asyncio.Event:
    """Return an event that is set when a signal asks this process to end."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup ignores SIGHUP.  A shell ignores SIGINT for what it starts with `&`, but `kill -INT` must still end it.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            # More signals change nothing: make passes a SIGTERM on, even one that its whole group got.
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


@dataclass(frozen=True, slots=True, kw_only=True)
class _Up:
    """A run, once it has a port and a database."""

    options: Options
    url: str
    server: postgres.Server
    console: Console
    log: LogFile

    def environment(self) -> dict[str, str]:
        """Return the variables that every function gets beside the template's, and keep their secrets in the home."""
        home = self.options.home
        if self.options.admin_password:
            homes.write_private(home / "admin.password", f"{self.options.admin_password}\n")
        return {
            "DATABASE_URL": self.server.url,
            "TOKEN_SECRET": homes.secret(home / "token.secret", lambda: secrets.token_hex(32)),
            "ADMIN_PASSWORD": homes.secret(home / "admin.password"),
        }

    def event(self, function: str, line: str) -> None:
        """Handle a line of a function's log."""
        self.log.write(line)
        self.console.event(function, line)

    async def serve(self, runtime: Runtime, listener: socket.socket, began: float) -> None:
        """Migrate the schema, then serve until cancelled; raises MigrationError."""
        with self.console.step("Schema"):
            result = await runtime.invoke(MIGRATE, {})
            if result.failed:
                why = result.json().get("errorMessage")
                raise MigrationError(f"{MIGRATE} failed: {why}\nNext: see above, or {self.log.path}.")
        sweep = self.options.sweep_seconds
        gateway = Gateway(runtime, periods={"SweeperFunction": sweep} if sweep else None)
        await gateway.serve(listener, ready=lambda: self._welcome(began))

    async def watch(self) -> None:
        """Return when the make that started this process has ended; raise StoppedError when PostgreSQL has ended."""
        parent = os.getppid()
        # Any other parent may end and leave this process running, as a shell does after nohup.
        by_make = psutil.Process(parent).name() in {"make", "gmake"}
        while not by_make or os.getppid() == parent:
            if self.server.guard.poll() is not None:
                raise StoppedError(f"PostgreSQL has ended.\nNext: see {self.options.home / 'logs' / 'postgres.log'}.")
            await asyncio.sleep(WATCH_SECONDS)

    def _welcome(self, began: float) -> None:
        """Write the file `env` for programs and the first screen for people: the dispatcher serves."""
        gc.freeze()  # the garbage collector need not look at what stays: its pauses delay every message
        home = self.options.home
        database_url = f"{self.server.url}{WITHOUT_TIMEOUT}"
        homes.write_private(home / "env", f"DISPATCHER_URL={self.url}\nDATABASE_URL={database_url}\n")
        psql = "psql" if shutil.which("psql") else str(self.server.bin / "psql")
        own = "as DISPATCHER_ADMIN_PASSWORD says" if self.options.admin_password else None
        self.console.line(f"\nThe dispatcher serves, after {time.monotonic() - began:.1f} s.\n")
        self.console.table(
            {
                "URL": self.url,
                "Documentation": f"{self.url}/docs",
                "User": "admin",
                "Password": own or homes.secret(home / "admin.password"),
                "Database": shlex.join([psql, database_url]),
                "Log": str(self.log.path),
            }
        )
        self.console.line("\nCtrl-C ends it; the next start keeps all data.\n")


if __name__ == "__main__":
    sys.exit(main())
