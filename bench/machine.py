"""What the figures depend on beside the code: the machine and the versions."""

import importlib.metadata
import os
import platform
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import psycopg

from bench.peers import PEERS
from bench.product import ROOT

LIBRARIES = ("psycopg", "websockets", "httptools", "boto3")
SYNCS = 100


def describe(folder: Path) -> dict[str, object]:
    """Describe the machine; `folder` is on the disk that is measured."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memoryGB": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "disk": _file_system(folder),
        "syncMs": round(_sync_milliseconds(folder), 2),
        "loadAtStart": round(os.getloadavg()[0], 2),
    }


def versions(conn: psycopg.Connection) -> dict[str, str]:
    """Return the versions of what is measured; `conn` is to the product's PostgreSQL."""
    found = {"python": platform.python_version(), "dispatcher": _commit()}
    number = conn.info.server_version
    found["postgresql"] = f"{number // 10000}.{number % 10000}"
    found |= {name: importlib.metadata.version(name) for name in LIBRARIES}
    for peer in PEERS:
        if not peer.missing:
            found |= peer.versions
    return found


def _processor() -> str:
    try:
        named = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        named = None
    return named[1] if named else platform.machine()


def _file_system(folder: Path) -> str:
    """Return the type of the file system that holds a folder."""
    mounts = [each for each in psutil.disk_partitions(all=True) if folder.is_relative_to(each.mountpoint)]
    return str(max(mounts, key=lambda each: len(each.mountpoint)).fstype) if mounts else "unknown"


def _sync_milliseconds(folder: Path) -> float:
    """Return how long the disk takes for a write of 8 KB and its sync, as a commit does it: the median of SYNCS."""
    times: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            os.write(file.fileno(), bytes(8192))
            os.fdatasync(file.fileno())
            times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return run.stdout.strip()
