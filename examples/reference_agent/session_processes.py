"""The agent's sessions: real processes that outlive the agent, found again by their locked pid files."""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""Session ids come from outside and become file names and arguments."""

# The session waits for a line before it begins: if the agent dies before it has written the pid, the session ends.
PROGRAM = """\
import signal, sys
if not sys.stdin.readline():
    sys.exit("the agent did not record this session")
while True:
    signal.pause()
"""


class SessionError(Exception):
    """A command cannot be executed; the text goes to the operator."""


class Sessions:
    """The sessions in a folder: one file `<sessionId>.pid` for each, which the session's process keeps locked.

    A session has `grace` seconds between SIGTERM and SIGKILL.  Every method raises SessionError for a session id that is
    not a safe file name.
    """

    def __init__(self, folder: Path, *, grace: float = 5.0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._grace = grace
        self._probing = threading.Lock()  # start must not confuse the lock of a probe with that of a session

    def active(self) -> list[str]:
        """Return the ids of the sessions that run."""
        return [path.stem for path in sorted(self._folder.glob("*.pid")) if self._pid(path) is not None]

    def execute(self, action: object, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Execute a command; return its result or raise SessionError."""
        session_id = payload.get("sessionId")
        match action:
            case "start_session":
                if not payload.get("template"):
                    raise SessionError("template is required")
                pid = self.start(session_id)
                place = {"podIP": "127.0.0.1", "podName": f"{session_id}-{pid}", "vncPort": 3000}
                names = {"sessionId": session_id, "deployment": session_id, "service": session_id}
                return {**names, "state": "running", **place}
            case "stop_session":
                self.stop(session_id)
                return {"sessionId": session_id, "state": "terminated"}
            case "hibernate_session":
                self.send_signal(session_id, signal.SIGSTOP)
                return {"sessionId": session_id, "state": "hibernated"}
            case "wake_session":
                self.send_signal(session_id, signal.SIGCONT)
                return {"sessionId": session_id, "state": "running"}
            case _:
                raise SessionError(f"unknown action: {action}")

    def start(self, session_id: object) -> int:
        """Start a session and return its process id; SessionError when it runs already."""
        path = self._file(session_id)
        with self._probing, path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SessionError(f"session {session_id} already exists") from None
            # The process inherits the lock with the open file, and keeps it as long as it runs.
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", PROGRAM, str(session_id)],
                pass_fds=[file.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
            file.truncate(0)
            file.write(str(process.pid))
        threading.Thread(target=process.wait, daemon=True).start()  # otherwise its end leaves a zombie
        with contextlib.suppress(BrokenPipeError), cast("IO[bytes]", process.stdin) as stdin:
            stdin.write(b"begin\n")
        return process.pid

    def stop(self, session_id: object) -> None:
        """End a session and everything that it started; does nothing if there is none."""
        path = self._file(session_id)
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = self._pid(path)
            if pid is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)
                os.killpg(pid, signal.SIGCONT)  # a hibernated process does not receive SIGTERM
            deadline = time.monotonic() + self._grace
            while self._pid(path) is not None and time.monotonic() < deadline:
                time.sleep(0.02)
        if self._pid(path) is not None:
            raise SessionError(f"session {session_id} does not end")
        path.unlink(missing_ok=True)

    def send_signal(self, session_id: object, number: int) -> None:
        """Send a signal to a session; SessionError when it does not run."""
        pid = self._pid(self._file(session_id))
        if pid is None:
            raise SessionError(f"session {session_id} does not exist")
        os.killpg(pid, number)

    def _file(self, session_id: object) -> Path:
        if not isinstance(session_id, str) or not SAFE_ID.fullmatch(session_id):
            raise SessionError(
                f"sessionId {session_id!r:.200} is not usable: letters, digits, '.', '_', '-', at most 128"
            )
        return self._folder / f"{session_id}.pid"

    def _pid(self, path: Path) -> int | None:
        """Return the session's process; None when the file is not locked: the number may belong to another process."""
        try:
            with self._probing, path.open("r+") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read())
        except (FileNotFoundError, ValueError):
            pass
        return None
