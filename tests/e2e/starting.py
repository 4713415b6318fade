"""Starts the whole program, as `make up` does, and tells what its home and its processes say."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

ROOT = Path(__file__).parents[2]
UP = (sys.executable, "-m", "local.up")


class Run:
    """A running program, and what its home tells about it."""

    def __init__(self, process: subprocess.Popen[str], home: Path) -> None:
        """Look at a process that was started on the home."""
        self.process = process
        self.home = home

    def environment(self, seconds: float = 20.0) -> dict[str, str]:
        """Return what the file `env` says, once it is there."""
        deadline = time.monotonic() + seconds
        while not (self.home / "env").exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        lines = (self.home / "env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def left(self, seconds: float = 5.0) -> list[str]:
        """Return the command lines of what still works in the home, when it had its time to end."""
        deadline = time.monotonic() + seconds
        while (found := _working_in(self.home)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found


def _working_in(home: Path) -> list[str]:
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if str(home).encode() in told:
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


@contextlib.contextmanager
def up(home: Path, *command: str, port: int = 0, **variables: str) -> Generator[Run, None, None]:
    """Start the program; kill it after the block, if it lives."""
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT}/layers/dispatcher"}
    process = subprocess.Popen(
        command or UP,
        cwd=ROOT,
        env={**path, "DISPATCHER_HOME": str(home), "DISPATCHER_PORT": str(port), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    run = Run(process, home)
    with process:
        try:
            yield run
        finally:
            if process.poll() is None:
                process.kill()
                run.left()
