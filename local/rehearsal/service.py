"""A dispatcher in its own process for a rehearsal, as `make up` runs it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from local import home as homes
from local.http_client import Client
from local.rehearsal.traffic import ROOT, RehearsalFailed, until

PASSWORD = "rehearsal"  # noqa: S105 - of a service that ends with the rehearsal
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A running service; `root` is the folder whose code it runs."""

    home: Path
    process: subprocess.Popen[bytes]

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
        """Its database, for the owner of the schema."""
        return self.environment["DATABASE_URL"].partition("?")[0]

    def client(self) -> Client:
        """Log in as admin."""
        return Client.log_in(self.url, "admin", PASSWORD)

    def kill(self) -> None:
        """End it and its PostgreSQL at once, as a lost region does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def running(home: Path, *, port: int = 0, root: Path = ROOT, sweep_seconds: float = 2.0) -> Generator[Service]:
    """Start the service of a home, and end it after the block; raises RehearsalFailed with what it said."""
    output = home.parent / f"{home.name}.output"
    with output.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.up"],
            cwd=root,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{root}:{root / 'layers/dispatcher'}",
                "DISPATCHER_HOME": str(home),
                "DISPATCHER_PORT": str(port),
                "DISPATCHER_ADMIN_PASSWORD": PASSWORD,
                "DISPATCHER_SWEEP_SECONDS": str(sweep_seconds),
            },
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    service = Service(home=home, process=process)
    (home / "env").unlink(missing_ok=True)
    try:
        until(
            "the service serves",
            lambda: (home / "env").exists() or process.poll() is not None,
            START_SECONDS,
        )
        if process.poll() is not None:
            raise RehearsalFailed(f"The service did not start:\n{output.read_text(errors='replace')[-2000:]}")
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                service.kill()
