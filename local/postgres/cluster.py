"""The data folder of PostgreSQL in a home: create it, start a server on it, end the server."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from local import home as homes
from local import ports
from local.postgres.unprivileged import Identity

OWNER, FUNCTIONS = "dispatcher", "dispatcher_functions"
"""The role that owns the database, and the one as which the functions log in."""
ACCESS, SOCKET_ACCESS = "host all all 127.0.0.1/32 scram-sha-256\n", "local all all scram-sha-256\n"
SOCKET_PATH_BYTES = 103
"""The longest path of a socket: macOS allows the least."""
TEMPORARY = ("postmaster.pid", "shared memory", "could not bind", "Address already in use")
"""Texts in the log of a failed start after which another try may succeed."""
START_SECONDS = 120.0
"""How long a server may take until it serves: recovery after a crash takes time."""
LOG_BYTES = 5_000_000
"""The size from which a start renames the server's log and begins a new one."""


class PostgresError(RuntimeError):
    """PostgreSQL could not be found, made or started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The data folder of a claimed home, the user who runs its programs, and the programs."""

    home: Path
    binaries: Path
    identity: Identity
    settings: Mapping[str, str]
    log: Callable[[str], None]

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.home / "postgres"

    @property
    def sockets(self) -> Path:
        """The folder of its Unix socket, over which a query costs less than over TCP."""
        return self.home / "sockets"

    @property
    def server_log(self) -> Path:
        """The server's own log."""
        return self.home / "logs" / "postgres.log"

    def prepare(self) -> dict[str, str]:
        """Make the data folder, the roles and the database, unless they are there; return the roles' passwords."""
        keepers = {OWNER: self.home / "postgres.password", FUNCTIONS: self.home / "functions.password"}
        lost = [role for role, keeper in keepers.items() if not keeper.exists()]
        passwords = {role: homes.secret(keeper) for role, keeper in keepers.items()}
        self.server_log.parent.mkdir(mode=0o700, exist_ok=True)
        if self.server_log.exists() and self.server_log.stat().st_size > LOG_BYTES:
            self.server_log.replace(self.server_log.with_suffix(".log.1"))
        if self.data.exists():
            self.end_predecessor()
            self.identity.own(self.data)
            if SOCKET_ACCESS not in _read(self.data / "pg_hba.conf"):  # of an earlier version
                with (self.data / "pg_hba.conf").open("a", encoding="utf-8") as rules:
                    rules.write(f"\n{SOCKET_ACCESS}")
            if lost:  # also the home of an earlier version, whose functions logged in as the owner
                self._as_superuser(self.data, "".join(_role(role, passwords[role]) for role in lost))
            return passwords
        for left in self.home.glob("postgres.new.*"):
            shutil.rmtree(left, ignore_errors=True)
        # Made in a draft folder and renamed when complete: a half-made cluster must never be used.
        draft = Path(tempfile.mkdtemp(prefix="postgres.new.", dir=self.home))
        self.identity.own(draft)
        sync = ["--no-sync"] if self.settings.get("fsync") == "off" else []
        names = ["--username=postgres", "--auth=reject", "--encoding=UTF8", "--locale=C"]
        self._run("initdb", "-D", str(draft), *names, *sync)
        (draft / "pg_hba.conf").write_text(ACCESS + SOCKET_ACCESS, encoding="ascii")
        roles = "".join(_role(role, password) for role, password in passwords.items())
        self._as_superuser(draft, f"{roles}create database {OWNER} owner {OWNER};\n")
        draft.rename(self.data)
        return passwords

    def launch(
        self, patience: float, *, port: int | None = None, closing: threading.Event | None = None
    ) -> tuple[subprocess.Popen[bytes], int]:
        """Start the server under its guard; return the guard and the port (the given one, if any) once it serves.

        Tries again, for `patience` seconds, if that may help.  Raises PostgresError with the end of the log, and gives up as
        soon as `closing` is set.  The server has a Unix socket, too, where that is possible: see has_socket().
        """
        deadline = time.monotonic() + patience
        closing = closing or threading.Event()
        while True:
            chosen = port or self._port()
            with homes.open_private(self.server_log, "a") as sink:
                begin = sink.tell()
                guard = self._start(chosen, sink.fileno(), closing)
            if guard is not None:
                return guard, chosen
            said = self._said(begin)
            if closing.is_set() or time.monotonic() >= deadline or not any(text in said for text in TEMPORARY):
                raise PostgresError(f"PostgreSQL did not start:\n{_tail(said)}\nNext: see {self.server_log}.")
            self.log("PostgreSQL did not start; trying again")
            self.end_predecessor()
            time.sleep(0.2)

    def _said(self, begin: int) -> str:
        """Return what the server has written to its log since a place in it."""
        with self.server_log.open("rb") as log:
            log.seek(begin)
            return log.read().decode(errors="replace")

    def _start(self, port: int, sink: int, closing: threading.Event) -> subprocess.Popen[bytes] | None:
        """Start the server once, its output to `sink`; return its guard when it is ready, None when it is not."""
        status = self.data / "postmaster.pid"
        stale = _read(status)
        server = [str(self.binaries / "postgres"), "-D", str(self.data)]
        sockets = str(self.sockets) if self._allows_socket(port) else ""
        for name, value in {**self.settings, "port": str(port), "unix_socket_directories": sockets}.items():
            server += ["-c", f"{name}={value}"]
        guard = subprocess.Popen(
            # A session of its own: Ctrl-C in the terminal ends the dispatcher, which ends the server last.
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")), *self.identity.prefix, *server],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=sink,
            cwd=self.home,
            env=_environment(),
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while guard.poll() is None and time.monotonic() < deadline and not closing.is_set():
                text = _read(status)
                if text != stale and text.rstrip().endswith("ready"):
                    return guard
                time.sleep(0.01)
        except BaseException:
            end(guard)
            raise
        end(guard)
        return None

    def has_socket(self, port: int) -> bool:
        """Tell whether the server that listens on this port has a Unix socket, too."""
        return self._socket(port).exists()

    def _socket(self, port: int) -> Path:
        return self.sockets / f".s.PGSQL.{port}"

    def _allows_socket(self, port: int) -> bool:
        """Make an empty folder for the socket; tell whether its path is short enough, and the disk can have one."""
        path = self._socket(port)
        shutil.rmtree(self.sockets, ignore_errors=True)  # the socket of a killed server
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
            return False
        try:
            with socket.socket(socket.AF_UNIX) as tried:
                tried.bind(str(path))
        except OSError:
            return False
        path.unlink()
        self.identity.own(self.sockets)
        return True

    def _port(self) -> int:
        """Return the port of the last run if it is free, else another one; store it for the next run."""
        keeper = self.home / "postgres.port"
        kept = _read(keeper).strip()
        port = ports.free(int(kept) if kept.isdigit() else 0)
        if str(port) != kept:
            homes.write_private(keeper, f"{port}\n")
        return port

    def end_predecessor(self) -> None:
        """End a server that still runs on the data folder: its guard is about to end it, or has been killed."""
        status = self.data / "postmaster.pid"
        first = _read(status).partition("\n")[0].strip()
        if not first.isdigit():
            return
        pid = int(first)
        if self._serves(pid):
            self.log(f"ending the PostgreSQL that an earlier run left behind (process {pid})")
        for number, seconds in ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0)):  # a fast shutdown, an immediate one
            deadline = time.monotonic() + seconds
            if self._serves(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            while self._serves(pid) and time.monotonic() < deadline:
                time.sleep(0.02)
        if self._serves(pid):
            raise PostgresError(f"the PostgreSQL of an earlier run does not end.\nNext: kill -9 {pid}")
        if psutil.pid_exists(pid):
            # Another process has the number now: PostgreSQL would believe that its server still runs.
            status.unlink(missing_ok=True)

    def _serves(self, pid: int) -> bool:
        try:
            return str(self.data) in psutil.Process(pid).cmdline()
        except psutil.Error:
            return False

    def _as_superuser(self, data: Path, statements: str) -> None:
        """Run statements, one a line, without a server: the superuser has no password, so it cannot log in."""
        options = ["-c", "exit_on_error=on", "-c", f"fsync={self.settings.get('fsync', 'on')}"]
        self._run("postgres", "--single", "-D", str(data), *options, "postgres", stdin=statements)

    def _run(self, program: str, *arguments: str, stdin: str = "") -> None:
        done = subprocess.run(
            [*self.identity.prefix, str(self.binaries / program), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=self.home,
            env=_environment(),
            check=False,
        )
        if done.returncode != 0:
            raise PostgresError(
                f"{program} failed:\n{_tail(done.stderr or done.stdout)}\nNext: correct what it says, and start again."
            )


def _role(role: str, password: str) -> str:
    """Return the statements, one a line, that make a role if it does not exist, and set its password."""
    options = "login createdb createrole" if role == OWNER else "login"
    exists = f"exists (select from pg_roles where rolname = '{role}')"
    statements = [
        f"do $$ begin if not {exists} then create role {role} {options}; end if; end $$;",
        f"alter role {role} password '{password}';",
    ]
    if role != OWNER:  # the migration sets the timeouts of the role
        statements.append(f"grant {role} to {OWNER} with admin option;")
    return "".join(f"{statement}\n" for statement in statements)


def end(guard: subprocess.Popen[bytes]) -> None:
    """End the guard's server in order, and wait for both."""
    # Both: a forked child may still have a copy of this end of the pipe; without one, the end of file is noticed at once.
    guard.terminate()
    if guard.stdin is not None:
        guard.stdin.close()
    guard.wait()


def _environment() -> dict[str, str]:
    """Return an environment without PGDATA and similar variables, and in English, because the log is searched for texts."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _tail(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-12:])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
