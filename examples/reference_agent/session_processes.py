"""The demonstration agent's sessions: real processes that outlive it, and records by which the next one finds them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""Session ids come from outside and become file names and arguments."""

# The session waits for a word before it lives: an agent killed before it wrote the record leaves nothing behind.
PROGRAM = """\
import signal, sys
if not sys.stdin.readline():
    sys.exit("no agent recorded this session")
while True:
    signal.pause()
"""


class SessionError(Exception):
    """A command can not be carried out; the text goes to the operator."""


class Sessions:
    """What runs here, one record a session in the folder: `<sessionId>.json` with pid, birth and state.

    Every method takes the id as it came, and raises SessionError for one that is no file name.
    """

    def __init__(self, folder: Path, *, grace: float = 5.0) -> None:
        """Work in the folder, made if need be; a session gets `grace` seconds between SIGTERM and SIGKILL."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._grace = grace
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def active(self) -> list[str]:
        """Return the ids of the sessions that live."""
        ids = (path.stem for path in sorted(self._folder.glob("*.json")))
        return [session_id for session_id in ids if SAFE_ID.fullmatch(session_id) and self._pid(session_id)]

    def carry_out(self, action: object, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a command says; return its result, or raise SessionError."""
        session_id = payload.get("sessionId")
        match action:
            case "start_session":
                if not payload.get("template"):
                    raise SessionError("template is required")
                pid = self.start(session_id)
                place = {"podIP": "127.0.0.1", "podName": f"{session_id}-{pid}", "vncPort": 3000}
                about = {"sessionId": session_id, "deployment": session_id, "service": session_id}
                return {**about, "state": "running", **place}
            case "stop_session":
                self.stop(session_id)
                return {"sessionId": session_id, "state": "terminated"}
            case "hibernate_session":
                self.hibernate(session_id)
                return {"sessionId": session_id, "state": "hibernated"}
            case "wake_session":
                self.wake(session_id)
                return {"sessionId": session_id, "state": "running"}
            case _:
                raise SessionError(f"unknown action: {action}")

    def start(self, session_id: object) -> int:
        """Start a session and return its process id; SessionError when it lives already."""
        path = self._record(session_id)
        if self._pid(session_id) is not None:
            raise SessionError(f"session {session_id} already exists")
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", PROGRAM, str(session_id)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        self._children[child.pid] = child
        _write(path, {"pid": child.pid, "born": _born(child.pid), "state": "running"})
        with contextlib.suppress(BrokenPipeError), cast("IO[bytes]", child.stdin) as word:
            word.write(b"live\n")
        return child.pid

    def stop(self, session_id: object) -> None:
        """End a session, with all that it started, and wait for its end; nothing to do when there is none."""
        path = self._record(session_id)
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = self._pid(session_id)
            if pid is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)
                os.killpg(pid, signal.SIGCONT)  # a hibernated session would not notice
            deadline = time.monotonic() + self._grace
            while self._pid(session_id) is not None and time.monotonic() < deadline:
                time.sleep(0.02)
        if self._pid(session_id) is not None:
            raise SessionError(f"session {session_id} does not end")
        path.unlink(missing_ok=True)

    def hibernate(self, session_id: object) -> None:
        """Stop a session's clock, and keep all that it has in memory."""
        self._signal(session_id, signal.SIGSTOP, "hibernated")

    def wake(self, session_id: object) -> None:
        """Let a hibernated session go on."""
        self._signal(session_id, signal.SIGCONT, "running")

    def _signal(self, session_id: object, number: int, state: str) -> None:
        path = self._record(session_id)
        pid = self._pid(session_id)
        if pid is None:
            raise SessionError(f"session {session_id} does not exist")
        os.killpg(pid, number)
        _write(path, {"pid": pid, "born": _born(pid), "state": state})

    def _record(self, session_id: object) -> Path:
        if not isinstance(session_id, str) or not SAFE_ID.fullmatch(session_id):
            raise SessionError(
                f"sessionId {session_id!r:.200} is not usable: letters, digits, '.', '_', '-', at most 128"
            )
        return self._folder / f"{session_id}.json"

    def _pid(self, session_id: object) -> int | None:
        """Return the session's process, None when it is gone, also when another process has its number by now."""
        try:
            record: dict[str, Any] = json.loads(self._record(session_id).read_text(encoding="utf-8"))
            pid, born = int(record["pid"]), str(record["born"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        if pid in self._children and self._children[pid].poll() is not None:
            del self._children[pid]
        return pid if _born(pid) == born else None


def _born(pid: int) -> str | None:
    """Return what tells this process from every other that has or had its number; None when it is gone."""
    try:
        # The name in parentheses may hold anything; state is the 1st field after it, the start in ticks the 20th.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return None
        shown = ["ps", "-o", "lstart=", "-p", str(pid)]
        return subprocess.run(shown, capture_output=True, text=True, check=False).stdout.strip() or None
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"


def _write(path: Path, record: dict[str, Any]) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(record) + "\n", encoding="utf-8")
    draft.replace(path)
