"""`make up`: the whole dispatcher on this machine, until Ctrl-C.

    python -m local.up

DISPATCHER_PORT, DISPATCHER_HOME, DISPATCHER_ADMIN_PASSWORD, DISPATCHER_SWEEP_SECONDS, DISPATCHER_HOSTS,
DISPATCHER_WEBHOOKS_PRIVATE and the parameters of template.yaml, such as DISPATCHER_QUEUE_LIMIT, configure it.
"""

import argparse
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
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import uvloop

from local import home as homes
from local import ports
from local.apigateway.listener import Gateway
from local.apigateway.queues import Queues
from local.console import Console, LogFile, printable
from local.lambda_runtime.runtime import Runtime
from local.metrics import Metrics
from local.options import OptionError, Options
from local.postgres import server as postgres
from local.postgres.unprivileged import UnprivilegedError
from local.sam_template import parameters
from local.sam_template.intrinsics import read
from local.sam_template.resources import Deployment, TemplateError

TEMPLATE = Path(__file__).parents[1] / "template.yaml"
MIGRATE, SENDER = "MigrateFunction", "WebhookFunction"
PATIENCE = 8.0
"""Seconds that an earlier run on the same home, and its PostgreSQL, may take to end."""
WATCH_SECONDS = 0.5
ENDS_MOST, ENDS_SECONDS = 3, 60.0
"""How often PostgreSQL may end within how many seconds; after more ends, starting it again does not help."""
FREE_LEAST = 32 * 2**20
"""The free bytes on the disk that PostgreSQL needs to start: two segments of its log."""
PRELOADED = ("aws_lambda_powertools.event_handler.middlewares.openapi_validation",)
"""What the layer's modules import late, with the first request: the processes share what is imported before."""
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
    # It takes no arguments: one that is given is a mistake, or --help.
    argparse.ArgumentParser(
        prog="python -m local.up", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    os.umask(0o077)  # what this process and the functions write is for their owner
    console = Console()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(console, time.monotonic()))
    except StoppedError as error:
        _complain(f"Stopped: {error}")
        return 1
    except STARTUP_ERRORS as error:
        hint = "\nNext: correct what it says, and start again." if "\nNext: " not in str(error) else ""
        _complain(f"Startup failed: {error}{hint}")
        return 1
    console.line("Ended.")
    return 0


def _complain(text: str) -> None:
    """Print an error, which may quote a log or the command line of another process."""
    print("", *map(printable, text.split("\n")), sep="\n", file=sys.stderr)  # noqa: T201


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
        log = LogFile(options.home / "logs" / "dispatcher.log", console.line)
        stack.callback(log.close)
        up = _Up(options=options, url=url, server=server, console=console, log=log, metrics=Metrics())
        deployment = Deployment.load(TEMPLATE, parameters={**given, "ConnectionsUrl": url}, url=url)
        runtime = Runtime(
            deployment.with_variables({name: up.environment(name) for name in deployment.functions}),
            gateway_url=url,
            log=up.event,
            preload=PRELOADED,
        )
        queues = Queues(runtime, options.home / "queues.sqlite", log=up.event)
        work: list[asyncio.Task[Any]] = [
            asyncio.create_task(up.serve(runtime, queues, listener, began)),
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
            await queues.close()
            up.write_lines()
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
    metrics: Metrics
    lines: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Of the functions' log, with the function of each; they are written together, because each time has its cost."""

    def environment(self, function: str) -> dict[str, str]:
        """Return the variables that a function gets beside the template's, and keep their secrets in the home.

        Only `migrate` owns the tables, and knows the first admin's password.  `webhook` has neither secret nor database.
        """
        home = self.options.home
        if function == SENDER:
            return self._webhooks
        variables = {
            "TOKEN_SECRET": homes.secret(home / "token.secret", lambda: secrets.token_hex(32)),
            "WEBHOOK_KEY": homes.secret(home / "webhooks.secret", lambda: secrets.token_hex(32)),
            **self._webhooks,
        }
        if function != MIGRATE:
            return {**variables, "DATABASE_URL": self.server.functions_url, "DATABASE_PREPARES": "true"}
        if self.options.admin_password:
            homes.write_private(home / "admin.password", f"{self.options.admin_password}\n")
        return {
            **variables,
            "DATABASE_URL": self.server.url,
            "DATABASE_ROLE": postgres.FUNCTIONS,
            "ADMIN_PASSWORD": homes.secret(home / "admin.password"),
        }

    @property
    def _webhooks(self) -> dict[str, str]:
        return {"WEBHOOKS_PRIVATE": "1"} if self.options.webhooks_private else {}

    def event(self, function: str, line: str) -> None:
        """Handle a line of a function's log; it is written with what else comes in this turn of the loop."""
        self.metrics.take(function, line)
        if not self.lines:
            asyncio.get_running_loop().call_soon(self.write_lines)
        self.lines.append((function, line))

    def write_lines(self) -> None:
        """Write the lines of the functions' log that are not written yet, to its file and for people."""
        lines = self.lines.copy()
        self.lines.clear()
        if lines:
            self.log.write(*[line for _, line in lines])
            self.console.events(lines)

    async def serve(self, runtime: Runtime, queues: Queues, listener: socket.socket, began: float) -> None:
        """Migrate the schema, then serve until cancelled; raises MigrationError."""
        with self.console.step("Schema"):
            result = await runtime.invoke(MIGRATE, {})
            if result.failed:
                why = result.json().get("errorMessage")
                raise MigrationError(f"{MIGRATE} failed: {why}\nNext: see above, or {self.log.path}.")
        runtime.end_idle()  # its process keeps a connection of the owner, which other functions must not use
        sweep = self.options.sweep_seconds
        periods = {"SweeperFunction": sweep} if sweep else None
        gateway = Gateway(runtime, periods=periods, queues=queues, hosts=self.options.hosts, metrics=self.metrics)
        await gateway.serve(listener, ready=lambda: self._welcome(began))

    async def watch(self) -> None:
        """Return when the make that started this process has ended.

        Starts PostgreSQL again when it has ended; raises StoppedError when that does not help.
        """
        parent = os.getppid()
        # Any other parent may end and leave this process running, as a shell does after nohup.
        by_make = psutil.Process(parent).name() in {"make", "gmake"}
        ends: deque[float] = deque()
        while not by_make or os.getppid() == parent:
            if self.server.has_ended():
                ends.append(time.monotonic())
                while ends[0] < time.monotonic() - ENDS_SECONDS:
                    ends.popleft()
                await self._restart_database(ends)
            await asyncio.sleep(WATCH_SECONDS)

    async def _restart_database(self, ends: deque[float]) -> None:
        """Start PostgreSQL again; `ends` has the moments when it ended, or did not start, within the last minute."""
        log = self.options.home / "logs" / "postgres.log"
        if self._disk_is_full():
            self.console.line("The disk is full, and PostgreSQL has ended; it is started again when there is space.")
            while self._disk_is_full():  # noqa: ASYNC110 - a disk tells nobody
                await asyncio.sleep(WATCH_SECONDS)
            ends.clear()
        elif len(ends) > ENDS_MOST:
            raise StoppedError(f"PostgreSQL has ended, {len(ends)} times within a minute.\nNext: see {log}.")
        else:
            self.console.line(f"PostgreSQL has ended; it is started again.  Why it ended is in {log}.")
        await asyncio.sleep(max(0, len(ends) - 1))  # what hinders it may pass
        began = time.monotonic()
        # Otherwise watch() tries again.
        with contextlib.suppress(postgres.PostgresError, OSError):
            await asyncio.to_thread(self.server.restart, PATIENCE)
            self.console.line(f"PostgreSQL serves again, after {time.monotonic() - began:.1f} s.")

    def _disk_is_full(self) -> bool:
        return shutil.disk_usage(self.options.home).free < FREE_LEAST

    def _welcome(self, began: float) -> None:
        """Write the file `env` for programs and the first screen for people: the dispatcher serves."""
        self.write_lines()
        gc.freeze()  # the garbage collector need not look at what stays: its pauses delay every message
        home = self.options.home
        database_url = f"{self.server.url}{WITHOUT_TIMEOUT}"
        homes.write_private(home / "env", f"DISPATCHER_URL={self.url}\nDATABASE_URL={database_url}\n")
        psql = "psql" if shutil.which("psql") else str(self.server.bin / "psql")
        own = "as DISPATCHER_ADMIN_PASSWORD says" if self.options.admin_password else None
        self.console.line(f"\nThe dispatcher serves, after {time.monotonic() - began:.1f} s.\n")
        self.console.table(
            {
                "Page": f"{self.url}/console/",
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
