"""The emulator on LocalStack's port: ministack, started here, or the one that the environment names."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3

from local import ports
from local.postgres import guard

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

VENV = Path(__file__).resolve().parents[2] / ".venv-ministack"
"""The folder into which `make localstack` installs it."""
PORT = 4566
START_SECONDS = 60.0
MEMORY = "/dev/shm"  # noqa: S108 - a new folder is created there
MEMORY_NEEDED = 4 * 1024**3
"""Bytes that must be free there: some 15 functions, each with 75 MB of layer, and as much again."""


class EmulatorError(Exception):
    """The emulator could not be started, or does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """A running emulator; `log` is None for one that was not started here."""

    url: str
    log: Path | None = None

    @property
    def host(self) -> str:
        """Host and port, as localstack-client needs them."""
        return self.url.split("://", 1)[1]

    def log_end(self, lines: int = 30) -> str:
        """Return the end of its log, if it was started here."""
        if self.log is None or not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def named(environment: Mapping[str, str]) -> str | None:
    """Return the URL that AWS_ENDPOINT_URL or LOCALSTACK_HOST names, the port 4566 if it names none."""
    if url := environment.get("AWS_ENDPOINT_URL"):
        return url.rstrip("/")
    if host := environment.get("LOCALSTACK_HOST"):
        return f"http://{host if ':' in host else f'{host}:{PORT}'}"
    return None


def runtime() -> str:
    """Return the Lambda runtime of ministack's Python, on which its functions run."""
    asked = "import sys; print('python%d.%d' % sys.version_info[:2])"
    done = subprocess.run([str(VENV / "bin" / "python"), "-c", asked], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@contextlib.contextmanager
def running(folder: Path, *, port: int = PORT) -> Generator[Emulator]:
    """Run ministack on 127.0.0.1 until the block ends, its log in `folder`.

    Uses another port if the given one is taken.  Raises EmulatorError.
    """
    port = ports.free(port)
    emulator = Emulator(url=f"http://127.0.0.1:{port}", log=folder / "emulator.log")
    program = [str(VENV / "bin" / "python"), "-m", "ministack"]
    with (
        tempfile.TemporaryDirectory(prefix="ministack-", dir=_memory_folder(), ignore_cleanup_errors=True) as scratch,
        (folder / "emulator.log").open("wb") as log,
    ):
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(guard.__file__)), *program],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=scratch,
            env=_environment(scratch, port),
            start_new_session=True,
        )
        try:
            _wait(emulator, process)
            yield emulator
        finally:
            process.terminate()
            process.communicate()


def _environment(scratch: str, port: int) -> dict[str, str]:
    """Return the emulator's environment, which its functions inherit, without variables of this process."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C.UTF-8",
        "HOME": scratch,
        "TMPDIR": scratch,
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
    }


def _memory_folder() -> str | None:
    """Return a folder in memory if one is large enough, None for the usual one on disk.

    Each function unpacks the layer for itself, thousands of files, and leaves them: on a busy disk that takes minutes.
    """
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return None
    fits = found.f_bavail * found.f_frsize >= MEMORY_NEEDED and not found.f_flag & os.ST_NOEXEC
    return MEMORY if fits and os.access(MEMORY, os.W_OK) else None


def _wait(emulator: Emulator, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(emulator.url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise EmulatorError(f"ministack does not serve on {emulator.url}:\n{emulator.log_end()}")
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Tell whether an emulator answers at this URL, on a path that LocalStack and ministack both have."""
    try:
        answer = urllib3.request("GET", f"{url}/_localstack/health", timeout=5.0, retries=False)
    except urllib3.exceptions.HTTPError:
        return False
    return answer.status == HTTPStatus.OK
