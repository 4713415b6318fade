"""`make up`: the whole dispatcher on this machine, until Ctrl-C.

    python -m local.up

DISPATCHER_PORT, DISPATCHER_HOME, DISPATCHER_ADMIN_PASSWORD and DISPATCHER_SWEEP_SECONDS change what it does; so do the
parameters of template.yaml, such as DISPATCHER_QUEUE_LIMIT.
"""

import asyncio
import contextlib
import os
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from local import home as homes
from local import ports
from local.apigateway.listener import Gateway
from local.console import Console, LogFile
from local.ending import Ending
from local.lambda_runtime.runtime import Runtime
from local.parent import Make
from local.postgres import server as postgres
from local.postgres.cluster import PostgresError
from local.postgres.unprivileged import UnprivilegedError
from local.sam_template import parameters
from local.sam_template.intrinsics import read
from local.sam_template.resources import Deployment, TemplateError
from local.settings import Settings, SettingsError

TEMPLATE = Path(__file__).parents[1] / "template.yaml"
MIGRATE = "MigrateFunction"
PATIENCE = 8.0
"""Seconds that another run on the same home gets to end, when it is about to."""
WATCH_SECONDS = 0.5
FOR_PEOPLE = "?options=-c%20statement_timeout%3D0"
"""What the database's URL ends with outside of the functions.

Their role gives up a statement after 30 s, since a function that takes longer is broken; an operator who inserts a
million rows with psql is not.
"""


class UpError(RuntimeError):
    """It can not run; the text says why, and what to do next."""


EXPECTED = (UpError, SettingsError, homes.HomeError, PostgresError, UnprivilegedError, TemplateError, OSError)


def main() -> int:
    """Run until told to end; return the exit code: 0 for an end in order."""
    began = time.monotonic()
    make = Make()
    console = Console()
    ending = Ending()
    try:
        settings = Settings.read(os.environ)
        given = parameters.from_environment(read(TEMPLATE), os.environ)
        with contextlib.ExitStack() as stack:
            claim = homes.claim(settings.home, patience=PATIENCE)
            stack.callback(claim.release)
            port = _free_port(settings.port)
            env = settings.home / "env"
            env.unlink(missing_ok=True)  # of a run that was killed: whoever waits for the file waits for this run
            stack.callback(env.unlink, missing_ok=True)
            with console.step("PostgreSQL"):
                server = postgres.start(settings.home, patience=PATIENCE, claim=claim, log=console.line)
            stack.callback(server.stop)
            log = LogFile(settings.home / "logs" / "dispatcher.log")
            stack.callback(log.close)
            url = f"http://127.0.0.1:{port}"
            up = Up(settings=settings, parameters=given, url=url, server=server, console=console, log=log)
            asyncio.run(up.run(make, ending, began))
    except KeyboardInterrupt:
        pass
    except EXPECTED as error:
        hint = "\nNext: mend what it says, and start again." if isinstance(error, OSError) else ""
        print(f"\nIt does not run: {error}{hint}", file=sys.stderr)  # noqa: T201
        return 1
    console.line("Ended.")
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """A run, once it has a port and a database."""

    settings: Settings
    parameters: Mapping[str, str]
    url: str
    server: postgres.Server
    console: Console
    log: LogFile

    async def run(self, make: Make, ending: Ending, began: float) -> None:
        """Migrate, then serve until told to end; raises UpError when something ends it."""
        deployment = Deployment.load(TEMPLATE, parameters={**self.parameters, "ConnectionsUrl": self.url})
        environment, password = self._environment()
        runtime = Runtime(deployment, gateway_url=self.url, log=self._event, environment=environment)
        sweep = self.settings.sweep_seconds
        gateway = Gateway(deployment, runtime, periods={"SweeperFunction": sweep} if sweep else None)
        main = asyncio.ensure_future(self._serve(runtime, gateway, lambda: self._welcome(password, began)))
        loop = asyncio.get_running_loop()
        ending.tell(lambda: loop.call_soon_threadsafe(main.cancel))
        watch = asyncio.create_task(self._watch(make))
        try:
            await asyncio.wait([main, watch], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.tell(lambda: None)
            self.console.line("Ending.")
            self.server.claim.say("ending")
            main.cancel()
            watch.cancel()
            outcomes = await asyncio.gather(main, watch, return_exceptions=True)
            await runtime.close()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _serve(self, runtime: Runtime, gateway: Gateway, ready: Callable[[], None]) -> None:
        with self.console.step("Schema"):
            result = await runtime.invoke(MIGRATE, {})
            if result.failed:
                why = result.json().get("errorMessage")
                raise UpError(f"{MIGRATE} failed: {why}\nNext: see above, or {self.log.path}.")
        await gateway.serve(port=int(self.url.rpartition(":")[2]), ready=ready)

    async def _watch(self, make: Make) -> None:
        """Return when make is gone; raise UpError when PostgreSQL is."""
        while not make.ended():
            if self.server.guard.poll() is not None:
                raise UpError(f"PostgreSQL has ended.\nNext: see {self.settings.home / 'logs' / 'postgres.log'}.")
            await asyncio.sleep(WATCH_SECONDS)

    def _environment(self) -> tuple[dict[str, str], str]:
        """Return what every function is told beside the template, and the admin's password."""
        home = self.settings.home
        if self.settings.admin_password:
            homes.write_private(home / "admin.password", f"{self.settings.admin_password}\n")
        password = homes.secret(home / "admin.password")
        token_secret = homes.secret(home / "token.secret", lambda: secrets.token_hex(32))
        return {"DATABASE_URL": self.server.url, "TOKEN_SECRET": token_secret, "ADMIN_PASSWORD": password}, password

    def _event(self, function: str, line: str) -> None:
        self.log.write(line)
        self.console.event(function, line)

    def _welcome(self, password: str, began: float) -> None:
        """Tell programs, by the file `env`, and people, by the first screen, that it serves."""
        database_url = f"{self.server.url}{FOR_PEOPLE}"
        homes.write_private(self.settings.home / "env", f"DISPATCHER_URL={self.url}\nDATABASE_URL={database_url}\n")
        psql = "psql" if shutil.which("psql") else str(self.server.bin / "psql")
        self.console.line(f"\nThe dispatcher serves, after {time.monotonic() - began:.1f} s.\n")
        self.console.table(
            {
                "URL": self.url,
                "Documentation": f"{self.url}/docs",
                "User": "admin",
                "Password": "as DISPATCHER_ADMIN_PASSWORD says" if self.settings.admin_password else password,
                "Database": shlex.join([psql, database_url]),
                "Log": str(self.log.path),
            }
        )
        self.console.line("\nCtrl-C ends it; the next start finds everything again.\n")


def _free_port(port: int) -> int:
    """Return the port, or a free one for 0; raise UpError with its listener when it is taken."""
    if port == 0:
        return ports.any_free()
    if ports.free(port):
        return port
    who = ports.listener(port)
    by, end = (f" by process {who[0]}: {who[1]:.100}", f"end that one (kill {who[0]})") if who else ("", "free it")
    raise UpError(f"port {port} is taken{by}.\nNext: {end}, or choose another port: DISPATCHER_PORT={port + 1}")


if __name__ == "__main__":
    sys.exit(main())
