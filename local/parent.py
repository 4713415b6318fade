"""What `make` lets its recipe know of its own end.

make passes SIGTERM on, but no SIGINT that only itself got: it then waits for the recipe, with SIGINT no longer handled.
A SIGKILL it cannot pass on.  Both can be seen from the recipe, and must be, or `make up` would not end with its make.
"""

import os
import signal
import subprocess
from pathlib import Path


class Make:
    """The make that started this process, if one did: whoever else did may end without ending this one (nohup)."""

    def __init__(self) -> None:
        """Look at the parent."""
        self._pid = os.getppid() if _name(os.getppid()) in {"make", "gmake"} else None
        self._handled_interrupts = _handles_interrupts(self._pid)

    def ended(self) -> bool:
        """Tell whether it is gone, or waits for this process to end."""
        if self._pid is None:
            return False
        return os.getppid() != self._pid or (self._handled_interrupts and not _handles_interrupts(self._pid))


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        shown = ["ps", "-o", "comm=", "-p", str(pid)]
        try:
            return Path(subprocess.run(shown, capture_output=True, text=True, check=False).stdout.strip()).name
        except FileNotFoundError:
            return ""


def _handles_interrupts(pid: int | None) -> bool:
    """Tell whether the process has a handler for SIGINT, as far as Linux says so."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    caught = [line.partition(":")[2] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(caught) and bool(int(caught[0], 16) >> (signal.SIGINT - 1) & 1)
