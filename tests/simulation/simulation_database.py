"""One database for many histories: it is emptied between them, observed from outside, and moved through time."""

import contextlib
from collections.abc import Generator

import psycopg
from psycopg import sql
from psycopg.types.json import set_json_loads

from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.json_text import loads_lenient
from dispatcher.platform.migrations import migrate
from local.postgres import server as postgres
from tests.conftest import FAST, scratch
from tests.simulation import table_columns
from tests.simulation.faulty_connection import FaultyConnection
from tests.simulation.simulated_time import TimeShift

PLATFORMS = {"k8s": "kubernetes", "docker": "docker", "batch": "kubernetes"}
"""The agents of every history, and their platforms."""
_SEED_JITTER = "select setseed(0.5)"
_TRUNCATE_EVERY = 50
"""Deleting is twenty times as fast as truncating, but leaves dead rows behind."""


@contextlib.contextmanager
def running_databases(count: int) -> Generator[list[str]]:
    """Run a server with `count` migrated databases; yield their URLs."""
    with scratch() as folder, postgres.running(folder, settings={**FAST, "synchronous_commit": "off"}) as server:
        names = [f"simulation_{number}" for number in range(count)]
        with psycopg.connect(server.url, autocommit=True) as conn:
            for name in names:
                conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        urls = [f"{server.url.rpartition('/')[0]}/{name}" for name in names]
        for url in urls:
            with open_connection(url) as conn:
                migrate(conn)
        yield urls


class SimulationDatabase:
    """The database of the histories: an observer's connection, and one connection for each function that runs at once."""

    def __init__(self, url: str) -> None:
        self.observer: Connection = open_connection(url)
        self.nullable_columns = table_columns.nullable_columns(self.observer, "agent_commands")
        self.url = url
        self._time = TimeShift(self.observer)
        self._functions: list[FaultyConnection] = []
        self._resets = 0
        tables = [sql.Identifier(name) for name in table_columns.data_tables(self.observer)]
        delete = sql.SQL("; ").join(sql.SQL("delete from {}").format(name) for name in tables)
        self._delete = delete.as_string(self.observer)
        self._truncate = sql.SQL("truncate {}").format(sql.SQL(", ").join(tables)).as_string(self.observer)

    def reset(self) -> None:
        """Empty every table, create the agents, and start the database's random numbers again."""
        empty = self._delete if self._resets % _TRUNCATE_EVERY else self._truncate
        self._resets += 1
        create = "; ".join(
            f"insert into agents (agent_id, platform) values ('{agent_id}', '{platform}');"
            f"insert into agent_keys (agent_id, key_hash) values ('{agent_id}', sha256('{agent_id}'))"
            for agent_id, platform in PLATFORMS.items()
        )
        self.observer.execute(f"{empty}; {create}; {_SEED_JITTER}".encode())
        for conn in self._functions:
            if not conn.unusable:
                conn.execute(_SEED_JITTER)

    def function_connection(self, depth: int) -> FaultyConnection:
        """Return the connection of the function at this depth (0, or 1 for one that runs during another's network call)."""
        while len(self._functions) <= depth:
            self._functions.append(self._connect())
        if self._functions[depth].unusable:
            self._functions[depth].close()
            self._functions[depth] = self._connect()
        return self._functions[depth]

    def _connect(self) -> FaultyConnection:
        conn = FaultyConnection.connect(self.url, autocommit=True, prepare_threshold=1)
        set_json_loads(loads_lenient, conn)
        # With tables as small as these the planner would not use the indexes that it uses in production, and the order of
        # rows would depend on earlier histories.
        conn.execute(f"set enable_seqscan = off; set plan_cache_mode = force_generic_plan; {_SEED_JITTER}".encode())
        conn.terminate = self._terminate
        return conn

    def _terminate(self, pid: int) -> None:
        # With a timeout pg_terminate_backend would wait as well, but it looks only every 100 ms.
        self.observer.execute("select pg_terminate_backend(%s)", (pid,))
        while self.observer.execute("select from pg_stat_get_activity(%s)", (pid,)).fetchone() is not None:
            pass

    def pass_time(self, seconds: int) -> None:
        """Let time pass."""
        self._time.apply(self.observer, seconds)

    def close(self) -> None:
        """Close all connections."""
        for conn in (*self._functions, self.observer):
            conn.close()
