"""What every peer needs: its client library, its program, a free port, and a process that is ended again."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import shutil
import socket
import subprocess
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import BenchError

SBIN = "/usr/sbin:/usr/local/sbin"
"""Where Debian puts servers; a user's PATH may lack it."""
START_SECONDS = 20.0
FIND_VERSION_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Something that the dispatcher is measured beside, if it is installed."""

    name: str
    module: str = ""
    """Its client's module; empty if no client is needed."""
    package: str = ""
    """The distribution that has the module."""
    program: str = ""
    """Its server; empty if there is none."""
    debian: str = ""
    """The Debian package that has the server."""

    @property
    def missing(self) -> str | None:
        """Why it is not measured, and what to do about it; None if all of it is installed."""
        if self.program and not _find(self.program):
            return f"{self.name} not measured, because {self.program} is missing. Next: apt install {self.debian}"
        if self.module and not importlib.util.find_spec(self.module.partition(".")[0]):
            return (
                f"{self.name} not measured, because the Python package {self.package} is missing. "
                f"Next: pip install -r requirements/bench.txt"
            )
        return None

    @property
    def client(self) -> Any:
        """Its client's module; optional, so the type checkers do not know it."""
        return importlib.import_module(self.module)

    @property
    def versions(self) -> dict[str, str]:
        """The versions of its server and its client."""
        found: dict[str, str] = {}
        if self.program:
            found[self.program] = _program_version(_find(self.program) or self.program)
        if self.package:
            found[self.package] = importlib.metadata.version(self.package)
        return found

    @contextlib.contextmanager
    def server(self, *arguments: str, port: int, folder: Path) -> Generator[None]:
        """Run its server until the block ends; yield when it accepts connections."""
        with serving([_find(self.program) or self.program, *arguments], port, folder / f"{self.program}.output"):
            yield


MOSQUITTO = Peer(
    name="Mosquitto", module="paho.mqtt.client", package="paho-mqtt", program="mosquitto", debian="mosquitto"
)
NATS = Peer(name="NATS JetStream", module="nats", package="nats-py", program="nats-server", debian="nats-server")
PGQUEUER = Peer(name="pgqueuer", module="pgqueuer", package="pgqueuer")
PROCRASTINATE = Peer(name="procrastinate", module="procrastinate", package="procrastinate")
PEERS = (MOSQUITTO, NATS, PGQUEUER, PROCRASTINATE)


@contextlib.contextmanager
def serving(command: Sequence[str], port: int, output: Path) -> Generator[None]:
    """Run a server until the block ends; yield when its port accepts connections."""
    with output.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _accepts(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{command[0]} did not start:\n{output.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path=SBIN)


def _program_version(program: str) -> str:
    for option in ("--version", "-h"):
        run = subprocess.run(
            [program, option], capture_output=True, text=True, check=False, timeout=FIND_VERSION_SECONDS
        )
        said = [word.lstrip("v") for word in run.stdout.split() if word.lstrip("v")[:1].isdigit() and "." in word]
        if said:
            return said[0]
    return "unknown"
