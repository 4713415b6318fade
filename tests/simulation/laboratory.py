"""One database for many histories: emptied between them, observed from outside, moved through time."""

import contextlib
from collections.abc import Generator

import psycopg
from psycopg import sql
from psycopg.types.json import set_json_loads

from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.json_text import loads_lenient
from dispatcher.platform.migrations import migrate
from local.postgres import server as postgres
from tests.conftest import scratch
from tests.simulation import columns
from tests.simulation.clock import Shift
from tests.simulation.connection import FragileConnection

FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off"}
"""Settings of a server whose data need not survive the machine; no crash of the server itself is played."""
AGENTS = {"k8s": "kubernetes", "docker": "docker", "batch": "kubernetes"}
"""The agents of every history, and their platforms."""
_TIDY_EVERY = 50


@contextlib.contextmanager
def databases(count: int) -> Generator[list[str]]:
    """Run a server with so many migrated databases; give their URLs."""
    with scratch() as folder, postgres.running(folder, settings=FAST) as server:
        with psycopg.connect(server.url, autocommit=True) as conn:
            # Histories kill connections all the time, and most of what a new one costs is hashing the password.
            password = conn.info.password
            conn.execute("set scram_iterations = 1")
            conn.execute(sql.SQL("alter role current_user password {}").format(sql.Literal(password)))
            conn.execute("create database migrated")
        base = server.url.rpartition("/")[0]
        with open_connection(f"{base}/migrated") as conn:
            migrate(conn)
        with psycopg.connect(server.url, autocommit=True) as conn:
            for number in range(count):
                name = sql.Identifier(f"faults_{number}")
                conn.execute(sql.SQL("create database {} template migrated").format(name))
        yield [f"{base}/faults_{number}" for number in range(count)]


class Laboratory:
    """The database that histories are played in, and the observer's connection to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.observer: Connection = open_connection(url)
        self.shift = Shift(self.observer)
        self.nullable = columns.nullable(self.observer, "agent_commands")
        names = [sql.Identifier(name) for name in columns.tables(self.observer)]
        delete = sql.SQL("; ").join(sql.SQL("delete from {}").format(name) for name in names)
        self._provide = "; ".join(
            f"insert into agents (agent_id, platform) values ('{name}', '{platform}')"
            for name, platform in AGENTS.items()
        )
        self._empty = delete.as_string(self.observer)
        self._truncate = sql.SQL("truncate {}").format(sql.SQL(", ").join(names)).as_string(self.observer)
        self._resets = 0

    def reset(self) -> None:
        """Empty every table, and provide the agents."""
        self._resets += 1
        # Deleting is twenty times as fast, but leaves dead rows behind.
        empty = self._truncate if self._resets % _TIDY_EVERY == 1 else self._empty
        self.observer.execute(f"{empty}; {self._provide}; select setseed(0.5)".encode())

    def connect(self) -> FragileConnection:
        """Open a connection as the layer does, but fragile."""
        conn = FragileConnection.connect(self.url, autocommit=True, prepare_threshold=1)
        set_json_loads(loads_lenient, conn)
        # The jitter of deadlines comes from a seed too.  With tables as small as these the planner would not use the
        # indexes that it uses in earnest, and the order of rows would depend on the histories before.
        conn.execute("set enable_seqscan = off; set plan_cache_mode = force_generic_plan; select setseed(0.5)")
        conn.terminate = self.terminate
        return conn

    def terminate(self, pid: int) -> None:
        """End a server process, and return when it is gone."""
        # With a timeout pg_terminate_backend would wait as well, but looks only every 100 ms.
        self.observer.execute("select pg_terminate_backend(%s)", (pid,))
        while self.observer.execute("select from pg_stat_get_activity(%s)", (pid,)).fetchone() is not None:
            pass

    def close(self) -> None:
        """Close the observer's connection."""
        self.observer.close()
