"""The folder that keeps what must outlive a dispatcher, and the lock that gives it to one process at a time."""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO


class HomeError(RuntimeError):
    """The home cannot be had; the text says why, and what to do next."""


class HomeInUseError(HomeError):
    """Another live process holds the home."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The exclusive right to a home; ends with `release`, or with the process, however that ends."""

    file: IO[str]

    def say(self, state: str) -> None:
        """Tell whoever wants the home who has it; "ending" is worth waiting for."""
        self.file.truncate(0)
        self.file.write(f"{os.getpid()} {state}\n")
        self.file.flush()

    def release(self) -> None:
        """Give the home back; may be called twice."""
        if not self.file.closed:
            # Unlocked by name, not only closed: a forked child may still have the same open file.
            fcntl.flock(self.file, fcntl.LOCK_UN)
            self.file.close()


def claim(home: Path, *, patience: float = 5.0) -> Claim:
    """Take the home for this process, waiting up to `patience` seconds for a holder that says that it is ending.

    Waits one second at most for any other, and raises HomeInUseError, with its process id; raises HomeError for a home
    that is no folder to write in.
    """
    path = home / "lock"
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="ascii")
    except OSError as error:
        raise HomeError(
            f"{home} cannot be written: {error.strerror}.\n"
            "Next: make it a folder of yours, or choose another one: DISPATCHER_HOME=$HOME/dispatcher"
        ) from error
    began = time.monotonic()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, _, state = path.read_text(encoding="ascii").strip().partition(" ")
            limit = patience if state == "ending" else min(patience, 1.0)
            if time.monotonic() - began >= limit:
                file.close()
                raise HomeInUseError(
                    f"{home} is in use by another dispatcher, process {pid}.\n"
                    f"Next: end that one (kill {pid}), or set DISPATCHER_HOME and DISPATCHER_PORT to run one beside it."
                ) from None
            time.sleep(0.05)
        else:
            taken = Claim(file=file)
            taken.say("running")
            return taken


def write_private(path: Path, text: str) -> None:
    """Replace the file at once and for good, readable by its owner only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def secret(path: Path, make: Callable[[], str] = lambda: secrets.token_urlsafe(24)) -> str:
    """Return the secret that the file keeps; make and keep it the first time."""
    try:
        kept = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        kept = ""
    if not kept:
        kept = make()
        write_private(path, f"{kept}\n")
    return kept
