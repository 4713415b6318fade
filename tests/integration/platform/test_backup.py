"""Restoring a backup: the steps of docs/deploy.md lead to a dispatcher that works."""

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from dispatcher.commands.delivery import deliver
from dispatcher.commands.loss_check import check_for_loss
from dispatcher.commands.sweep import sweep
from dispatcher.errors import UnknownFeedCursor
from dispatcher.events import feed
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.gateway import Posted
from dispatcher.platform.migrations import migrate
from local.postgres.server import find_binaries
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, create_agent, put, statuses


def test_a_dispatcher_continues_after_a_dump_is_restored_over_its_database(
    conn: Connection, database_url: str, tmp_path: Path
) -> None:
    """With the commands of the backup, their history and their order; new commands get new numbers."""
    binaries, dump = find_binaries(), tmp_path / "dump"
    if "PG_BIN" in os.environ and not (binaries / "pg_dump").exists():
        pytest.skip(f"{binaries} has no pg_dump")
    create_agent(conn)
    put(conn, "k1")
    put(conn, "k2")
    restored = f"{database_url}_restored"
    name = sql.Identifier(restored.rpartition("/")[2])
    conn.execute(sql.SQL("create database {}").format(name))
    try:
        with open_connection(restored) as other:
            migrate(other)
            put(other, "after the backup")
        backed_up = feed.newest(conn)
        subprocess.run([binaries / "pg_dump", "-Fc", "-f", dump, "-d", database_url], check=True)
        into = ["--clean", "--if-exists", "--no-owner", "--exit-on-error", "-d", restored]
        subprocess.run([binaries / "pg_restore", *into, dump], check=True)

        with open_connection(restored) as other:
            assert migrate(other) == []
            assert statuses(other) == {"k1": "pending", "k2": "pending"}
            put(other, "k3")
            connect(other)
            gateway = FakeGateway()
            deliver(other, gateway, "a1", plenty)
            assert gateway.command_ids == ["k1"]
            order = other.execute("select command_id from agent_commands order by seq").fetchall()
            assert order == [("k1",), ("k2",), ("k3",)]
            assert check_for_loss(other).clean
            # Whoever follows the change feed goes on, unless they have read what the backup does not have.
            assert "k3" in {event.command_id for event in feed.read(other, after=backed_up, limit=9).events}
            with pytest.raises(UnknownFeedCursor):
                feed.read(other, after=replace(backed_up, number=backed_up.number + 1), limit=9)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                other.execute("delete from audit_log")
    finally:
        conn.execute(sql.SQL("drop database if exists {} with (force)").format(name))


@contextmanager
def another_region(conn: Connection, database_url: str) -> Generator[str]:
    """Make an empty database for what is restored, and return its URL."""
    url = f"{database_url}_restored"
    name = sql.Identifier(url.rpartition("/")[2])
    conn.execute(sql.SQL("create database {}").format(name))
    try:
        yield url
    finally:
        conn.execute(sql.SQL("drop database if exists {} with (force)").format(name))


def test_a_lost_region_goes_on_in_another_one_from_the_last_copy(
    conn: Connection, database_url: str, tmp_path: Path
) -> None:
    """Agents reconnect: what was under way when the copy was made comes again, and what was accepted later is lost."""
    binaries, dump = find_binaries(), tmp_path / "dump"
    if "PG_BIN" in os.environ and not (binaries / "pg_dump").exists():
        pytest.skip(f"{binaries} has no pg_dump")
    create_agent(conn)
    connect(conn)
    put(conn, "under way")
    put(conn, "waiting")
    deliver(conn, FakeGateway(), "a1", plenty)
    subprocess.run([binaries / "pg_dump", "-Fc", "-f", dump, "-d", database_url], check=True)
    put(conn, "after the copy")

    with another_region(conn, database_url) as url:
        subprocess.run([binaries / "pg_restore", "--no-owner", "--exit-on-error", "-d", url, dump], check=True)
        with open_connection(url) as region:
            assert migrate(region) == []
            assert statuses(region) == {"under way": "sent", "waiting": "pending"}
            old = FakeGateway(outcomes=[Posted.GONE])
            region.execute("update agent_commands set ack_deadline = now() - interval '1 second'")
            sweep(region, old, deadline=plenty)
            connect(region, connection_id="c2")
            gateway = FakeGateway()
            deliver(region, gateway, "a1", plenty)
            assert gateway.command_ids == ["under way"]
            assert gateway.connection_ids == ["c2"]
            assert check_for_loss(region).clean
