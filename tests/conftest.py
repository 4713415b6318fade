"""A real PostgreSQL for all tests; each test gets its own database."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.migrations import migrate
from local.postgres import server as postgres

# A shell starts a background job with SIGINT ignored, and so would be every program that a test starts and ends with Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A test's data need not survive the machine, and nothing else may differ from what users run; but a database in which an
# autovacuum worker is just at work cannot be dropped by its owner.
FAST = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
ROOM = 4 * 2**30
_numbers = count(1)
# Runs that share a server, in TEST_DATABASE_SERVER, do not share databases.
_PREFIX = f"test_{os.getpid()}"
_MIGRATED = f"{_PREFIX}_migrated"


@contextlib.contextmanager
def scratch() -> Generator[Path]:
    """Make a folder for a temporary database: in memory if there is room, because each test's database has many files."""
    memory = Path("/dev/shm")  # noqa: S108 - no name in it is guessed
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM
    with tempfile.TemporaryDirectory(prefix="dispatcher-", dir=memory if roomy else None) as folder:
        yield Path(folder) / "postgres"


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL server: a new one, unless TEST_DATABASE_SERVER names one whose role may create databases."""
    with contextlib.ExitStack() as stack:
        url = os.environ.get("TEST_DATABASE_SERVER")
        if not url:
            url = stack.enter_context(postgres.running(stack.enter_context(scratch()), settings=FAST)).url
        admin = stack.enter_context(psycopg.connect(url, autocommit=True))
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(_MIGRATED)))
        # One at a time: the migration also alters the role, which all databases of a server share.
        admin.execute("select pg_advisory_lock(1)")
        with open_connection(_url_of(url, _MIGRATED)) as conn:
            migrate(conn)
        admin.execute("select pg_advisory_unlock(1)")
        yield url
        _drop(admin, _MIGRATED)


def _drop(conn: Connection, name: str) -> None:
    for pause in (0.1, 0.5, 2.0, 5.0):
        try:
            conn.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
        except (
            psycopg.errors.InsufficientPrivilege
        ):  # PostgreSQL 15: an autovacuum worker uses it, and this role may not end that worker
            time.sleep(pause)
        else:
            return


def _url_of(server: str, database: str) -> str:
    return server.rpartition("/")[0] + f"/{database}"


@pytest.fixture(scope="session")
def new_database(server: str) -> Callable[[], AbstractContextManager[str]]:
    """Create databases with the schema and without rows; each call returns a URL."""

    @contextlib.contextmanager
    def create() -> Generator[str]:
        name = f"{_PREFIX}_{next(_numbers)}"
        template = sql.SQL("create database {} template {}")
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(template.format(sql.Identifier(name), sql.Identifier(_MIGRATED)))
            yield _url_of(server, name)
            _drop(admin, name)

    return create


@pytest.fixture
def database_url(new_database: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """The URL of the database of this test."""
    with new_database() as url:
        yield url


@pytest.fixture
def conn(database_url: str) -> Iterator[Connection]:
    """A connection to the database of this test."""
    with open_connection(database_url) as connection:
        yield connection


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's folder."""
    return Path(__file__).resolve().parent.parent
