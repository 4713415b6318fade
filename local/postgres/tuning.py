"""PostgreSQL's settings, fitted to this machine: its memory, its free disk, the way that its programs were built.

Nothing here trades durability for speed: fsync, synchronous_commit and full_page_writes stay on, because a 202 must survive
a crash.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

MB = 2**20
ALWAYS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Each process of a function keeps one connection; an unused slot costs nothing.
    "max_connections": "200",
    # After a checkpoint the first change of each page writes the whole page to the log: fewer checkpoints, fewer pages.
    "checkpoint_timeout": "15min",
    # The queries are short and known; compiling one would take longer than running it.
    "jit": "off",
    # A row of a command is updated several times within seconds: space is reused soon.  Each look is two transactions.
    "autovacuum_naptime": "20s",
    # For a disk without moving parts, or a cached one: an index is worth its use earlier, and pages are read ahead.
    "random_page_cost": "1.1",
    "effective_io_concurrency": "32",
}
"""The settings that are the same on each machine.

Not set, because it brought nothing or costs memory: wal_buffers (a thirty-second of shared_buffers is enough, as each
transaction writes its part at once), commit_delay (it delays each commit, and senders share a commit's wait already),
checkpoint_completion_target (0.9 is PostgreSQL's own value).
"""


def tuned(home: Path, binaries: Path) -> dict[str, str]:
    """Return the settings for a server with its data in `home`."""
    settings = {
        **ALWAYS,
        "shared_buffers": f"{shared_buffers(_memory()) // MB}MB",
        "max_wal_size": f"{max_wal_size(shutil.disk_usage(home).free) // MB}MB",
    }
    if _has_lz4(binaries):
        settings["wal_compression"] = (
            "lz4"  # whole pages in the log; PostgreSQL's own method would cost more than it saves
        )
    return settings


def shared_buffers(memory: int) -> int:
    """Return the bytes for PostgreSQL's own cache: a part of the memory, and no more than its tables need.

    What does not fit is in the cache of the operating system, a copy away.  Each page that was used counts as memory of
    `make up`, which is to stay small with many agents.
    """
    return min(max(memory // 16, 48 * MB), 64 * MB)


def max_wal_size(free_disk: int) -> int:
    """Return the bytes of log after which a checkpoint begins early: at most a quarter of what is free on the disk."""
    return min(max(free_disk // 4, 128 * MB), 2048 * MB)


def _memory() -> int:
    """Return the memory of the machine, or of the container if that is less."""
    memory = int(psutil.virtual_memory().total)
    with contextlib.suppress(OSError, ValueError):  # no such file, or `max`
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return memory


def _has_lz4(binaries: Path) -> bool:
    program = binaries / "pg_config"
    if not program.exists():
        return False
    built = subprocess.run([str(program), "--configure"], capture_output=True, text=True, check=False)
    return "--with-lz4" in built.stdout
