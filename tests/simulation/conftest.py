"""The database that the simulation's tests play in: one for each process that runs tests."""

import os
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from psycopg import sql

from dispatcher.platform.database import open_connection
from dispatcher.platform.migrations import migrate
from tests.simulation.simulation_database import SimulationDatabase


@pytest.fixture(scope="session")
def simulation_database(server: str) -> Iterator[SimulationDatabase]:
    """A migrated database, on the server of all tests."""
    name = f"simulation_{os.getpid()}"
    url = f"{server.rpartition('/')[0]}/{name}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        admin.execute("select pg_advisory_lock(1)")  # a migration also alters the role, which all databases share
        with open_connection(url) as conn:
            migrate(conn)
        admin.execute("select pg_advisory_unlock(1)")
        with closing(SimulationDatabase(url)) as database:
            yield database
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
