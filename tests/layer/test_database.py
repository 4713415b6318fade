"""The one connection of an environment, and the schema's way into a database."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from dispatcher.platform import database
from dispatcher.platform.database import Connection
from dispatcher.platform.migrations import migrate
from tests.rows import provide, put, statuses


@pytest.fixture(autouse=True)
def _environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of a function that starts cold."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setattr(database, "_kept", None)
    monkeypatch.setattr(database, "RETRY_PAUSES", (0.01, 0.01))
    yield
    if database._kept is not None:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        database._kept.close()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def kill(conn: Connection, victim: Connection) -> None:
    """End another session, as a failover does."""
    conn.execute("select pg_terminate_backend(%s, 1000)", (victim.info.backend_pid,))


def test_an_environment_that_thaws_with_a_dead_socket_opens_another(conn: Connection) -> None:
    """The connection itself says that it is open."""
    with database.connect() as first:
        kill(conn, first)

    with database.connect() as second:
        assert second.execute("select 1").fetchone() == (1,)


def test_work_that_the_database_cuts_short_is_done_again(conn: Connection) -> None:
    """A report that is lost here would be lost for good."""
    provide(conn)
    put(conn, "k1")
    tries: list[int] = []

    def work(mine: Connection) -> int:
        tries.append(1)
        if len(tries) == 1:
            kill(conn, mine)
        return mine.execute("update agent_commands set priority = 1").rowcount

    assert (database.persistently(work), len(tries)) == (1, 2)


def test_after_a_failover_work_goes_to_the_server_that_writes(conn: Connection) -> None:
    """The old writer answers, and only reads: its connection is not kept."""
    provide(conn)
    put(conn, "k1")
    with database.connect() as mine:
        mine.execute("set default_transaction_read_only = on")

    def work(mine: Connection) -> int:
        return mine.execute("update agent_commands set priority = 1").rowcount

    assert database.persistently(work) == 1


def test_work_that_is_wrong_is_not_done_again() -> None:
    """Only an interruption passes."""
    tries: list[int] = []

    def work(mine: Connection) -> None:
        tries.append(1)
        mine.execute("select nonsense")

    with pytest.raises(psycopg.errors.UndefinedColumn):
        database.persistently(work)
    assert tries == [1]


def test_the_schema_is_applied_once_and_again_changes_nothing(conn: Connection) -> None:
    """R6, R7: the same function on every installation; what is there stays."""
    provide(conn)
    put(conn, "k1")

    assert (migrate(conn), statuses(conn)) == ([], {"k1": "pending"})


def test_a_schema_file_that_was_changed_after_it_had_been_applied_is_refused(conn: Connection) -> None:
    """Else two installations with the same list of files would differ."""
    conn.execute("update schema_migrations set checksum = 'other'")

    with pytest.raises(RuntimeError, match="was changed after"):
        migrate(conn)


def test_a_migration_sees_to_the_roles_timeouts(conn: Connection, server: str) -> None:
    """Whatever the role had before; rolled back, as all databases of a server share it."""
    with psycopg.connect(server, autocommit=True) as admin, conn.transaction(force_rollback=True):
        # One at a time, as in conftest: two transactions cannot alter a role at once.
        admin.execute("select pg_advisory_lock(1)")
        conn.execute("alter role current_user reset all")
        migrate(conn)
        row = conn.execute("select rolconfig from pg_roles where rolname = current_user").fetchone()

    assert row is not None
    assert {"lock_timeout=5s", "statement_timeout=30s", "idle_in_transaction_session_timeout=30s"} <= set(row[0] or [])


def test_the_role_waits_for_nothing_for_ever(conn: Connection) -> None:
    """A lock that nobody gives back ends a statement, and no function hangs until it is killed."""
    with database.connect() as mine:
        for name, value in (("lock_timeout", "5s"), ("statement_timeout", "30s"), ("TimeZone", "UTC")):
            assert mine.execute(sql.SQL("show {}").format(sql.Identifier(name.lower()))).fetchone() == (value,)
    del conn
