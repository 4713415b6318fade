"""The command line `dispatcher`: in this process, in a process of its own, and in a terminal of 80 columns."""

import fcntl
import io
import json
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from command_dispatcher.cli import main as entry
from tests.e2e.dispatcher_process import PATIENCE, ROOT

COLUMNS = 80
MODULE = (sys.executable, "-m", "command_dispatcher")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str = ""

    @property
    def json(self) -> Any:
        """Its data."""
        return json.loads(self.out)

    @property
    def ids(self) -> list[str]:
        """Its data, a line each."""
        return self.out.split()

    @property
    def lines(self) -> list[str]:
        """What a terminal shows, without colours and movements."""
        return _ESCAPES.sub("", self.out).replace("\r", "\n").split("\n")


class CommandLine:
    """`dispatcher` with a configuration of its own."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.home = home
        for name in ("DISPATCHER_URL", "DISPATCHER_TOKEN", "DISPATCHER_CONTEXT", "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(home))

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        """Run it in this process: the same code, without the start of an interpreter."""
        self._capsys.readouterr()
        self._monkeypatch.setattr(sys, "argv", ["dispatcher", *arguments])
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            entry.main()
        written = self._capsys.readouterr()
        return Result(code=int(ended.value.code or 0), out=written.out, err=written.err)

    def ok(self, *arguments: str, stdin: str = "") -> Result:
        """Run it, and insist that it completes."""
        result = self(*arguments, stdin=stdin)
        assert result.code == 0, result
        return result

    def terminal(
        self, *arguments: str, answer: str = "", until: Callable[[str], bool] | None = None, **variables: str
    ) -> Result:
        """Run it in a terminal; type `answer`, and Ctrl-C once `until` holds for what was shown."""
        child, screen = pty.fork()
        if child == 0:
            os.execve(  # noqa: S606 - there must be no shell in between
                sys.executable,
                [*MODULE, *arguments],
                self.environment(TERM="xterm-256color", **variables),
            )
        fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        if answer:
            os.write(screen, answer.encode())
        try:
            shown = _read(screen, until)
        finally:
            os.close(screen)  # the child gets SIGHUP, should it still run
            _, status = os.waitpid(child, 0)
        return Result(code=os.waitstatus_to_exitcode(status), out=shown)

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the variables of a process."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": str(ROOT / "clients/python/src"),
            "XDG_CONFIG_HOME": str(self.home),
            **variables,
        }


def _read(screen: int, until: Callable[[str], bool] | None) -> str:
    shown, deadline, interrupted = b"", time.monotonic() + PATIENCE, False
    while time.monotonic() < deadline:
        if select.select([screen], [], [], 0.05)[0]:
            try:
                shown += os.read(screen, 65536)
            except OSError:  # Linux says EIO when the other side has ended
                break
        if until and not interrupted and until(shown.decode(errors="replace")):
            os.write(screen, b"\x03")
            interrupted = True
    else:
        raise AssertionError(f"it did not end in time; it showed {shown.decode(errors='replace')[-2000:]}")
    return shown.decode()
