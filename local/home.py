"""The folder for a dispatcher's data, and the lock that gives it to one process at a time."""

import contextlib
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO


class HomeError(RuntimeError):
    """The home cannot be used; the text says why, and what to do next."""


class HomeInUseError(HomeError):
    """Another live process holds the home."""


@contextlib.contextmanager
def claimed(home: Path, *, patience: float = 5.0) -> Generator[None]:
    """Hold the home until the block or the process ends; make the folder if it does not exist.

    The folder and the files in it are then open to their owner only, whatever an earlier run or the umask allowed.
    Waits up to `patience` seconds for another holder to end, then raises HomeInUseError with its process id; raises
    HomeError for a home that cannot be written.
    """
    path = home / "lock"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _close_to_others(home)
        file = open_private(path, "a+")
    except OSError as error:
        raise HomeError(
            f"{home} cannot be written: {error.strerror}.\n"
            "Next: make it a folder of yours, or choose another one: DISPATCHER_HOME=$HOME/dispatcher"
        ) from error
    with file:
        deadline = time.monotonic() + patience
        while not _lock(file.fileno()):
            if time.monotonic() >= deadline:
                pid = path.read_text(encoding="ascii").strip()
                raise HomeInUseError(
                    f"{home} is in use by another dispatcher, process {pid}.\n"
                    f"Next: end that one (kill {pid}), or set DISPATCHER_HOME and DISPATCHER_PORT to run one beside it."
                )
            time.sleep(0.05)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            # Unlocked explicitly, not only closed: a forked child may still have the same open file.
            fcntl.flock(file, fcntl.LOCK_UN)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _close_to_others(home: Path) -> None:
    """Take all rights in a home from everybody but its owner."""
    if home.parent == home or home.stat().st_mode & stat.S_ISVTX:
        return  # a folder of the whole system, such as /tmp, stays as it is; the files in it are private in any case
    logs = home / "logs"
    for path in (home, *home.iterdir(), *(logs.iterdir() if logs.is_dir() else ())):
        # The data folder belongs to PostgreSQL, which keeps it private; some file systems have no rights at all.
        with contextlib.suppress(OSError):
            if path in (home, logs):
                path.chmod(0o700)
            elif stat.S_ISREG(path.lstat().st_mode):
                path.chmod(0o600)


def open_private(path: Path, mode: str) -> IO[str]:
    """Open a text file; a new one is readable by its owner only, whatever the umask."""
    # Path.open takes no opener.
    return open(path, mode, encoding="utf-8", errors="backslashreplace", opener=_opener)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step, readable by its owner only, and sync it to disk."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def variables(home: Path) -> dict[str, str]:
    """Return the variables in the file `env` of a home: where its dispatcher serves, and its database."""
    lines = (home / "env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)


def secret(path: Path, make: Callable[[], str] = lambda: secrets.token_urlsafe(24)) -> str:
    """Return the secret in the file; create it the first time."""
    kept = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    if not kept:
        kept = make()
        write_private(path, f"{kept}\n")
    return kept
