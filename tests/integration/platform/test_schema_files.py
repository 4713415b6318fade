"""Schema files: how one is applied while others use its table."""

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from dispatcher.platform import migrations, schema_files
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.observability import logger
from dispatcher.platform.schema_files import NotAppliedError, SchemaFile
from tests.rows import create_agent, put

CONCURRENT = SchemaFile(
    name="9001_test.sql",
    text=b"-- no transaction\n-- Why it is; here.\ncreate index concurrently if not exists test_action\n"
    b"on agent_commands (action);\n\ncreate table beside (id int);\n",
)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits, as many as in production."""
    monkeypatch.setattr(schema_files, "LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(schema_files, "PAUSES", (0.05,) * 8)


def is_valid(conn: Connection, index: str) -> bool | None:
    """Tell whether an index is valid; None if there is none."""
    row = conn.execute("select indisvalid from pg_index where indexrelid = to_regclass(%s)", (index,)).fetchone()
    return None if row is None else row[0]


def recorder(done: list[str]) -> Callable[[], None]:
    """Return what records that a file was applied."""
    return lambda: done.append("recorded")


def test_a_file_without_a_transaction_is_applied_statement_by_statement(conn: Connection) -> None:
    """PostgreSQL refuses to build an index concurrently in a transaction, also in one for several statements."""
    done: list[str] = []

    schema_files.apply(conn, CONCURRENT, recorder(done))

    assert is_valid(conn, "test_action") is True
    assert conn.execute("select to_regclass('beside') is not null").fetchone() == (True,)
    assert done == ["recorded"]
    assert conn.execute("show lock_timeout").fetchone() != ("1s",)


def test_an_invalid_index_of_a_failed_try_is_built_again(conn: Connection) -> None:
    """`if not exists` alone would keep it, and it would never be used."""
    create_agent(conn)
    put(conn, "k1")
    put(conn, "k2")
    with pytest.raises(psycopg.errors.UniqueViolation):
        conn.execute("create unique index concurrently test_action on agent_commands (agent_id)")
    assert is_valid(conn, "test_action") is False

    schema_files.apply(conn, CONCURRENT, recorder([]))

    assert is_valid(conn, "test_action") is True


def test_a_file_that_would_fail_after_a_lost_answer_is_refused(conn: Connection) -> None:
    """The index may have been built when the connection broke; then the next try must pass."""
    file = SchemaFile(
        name="9001_test.sql", text=b"-- no transaction\ncreate index concurrently i on agents (platform);\n"
    )

    with pytest.raises(ValueError, match="if not exists"):
        schema_files.apply(conn, file, recorder([]))


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        (b"create table half (id int);\nselect 1 / 0;\n", False),
        (b"-- no transaction\ncreate table if not exists half (id int);\nselect 1 / 0;\n", True),
    ],
)
def test_a_file_that_fails_half_way_is_named_and_not_recorded(conn: Connection, text: bytes, *, stays: bool) -> None:
    """The deployment shows this text; the table of the applied files does not have it."""
    done: list[str] = []
    what = "What stands before" if stays else "Nothing of it"

    with pytest.raises(
        NotAppliedError, match=rf"^9001_test\.sql was not applied: division by zero\.  {what}.*serves on"
    ):
        schema_files.apply(conn, SchemaFile(name="9001_test.sql", text=text), recorder(done))

    assert done == []
    assert conn.execute("select to_regclass('half') is not null").fetchone() == (stays,)


@pytest.mark.usefixtures("pauses")
def test_a_migration_that_never_gets_its_lock_says_what_to_do(
    conn: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator's forgotten transaction is the usual reason."""
    monkeypatch.setattr(schema_files, "PAUSES", ())
    file = SchemaFile(name="9001_test.sql", text=b"alter table agent_commands add column test_column int;\n")
    with open_connection(database_url) as other, other.transaction():
        other.execute("lock table agent_commands in row exclusive mode")

        with pytest.raises(NotAppliedError, match=r"lock timeout.*Next: end the transaction that holds the lock"):
            schema_files.apply(conn, file, recorder([]))


@contextmanager
def held_back(database_url: str, tries: int, waits: list[str], monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Hold a lock on the table of commands until the migration has been refused `tries` times."""
    with open_connection(database_url) as other:
        release = threading.Event()
        other.execute("begin")
        other.execute("lock table agent_commands in row exclusive mode")

        def info(_text: str, extra: dict[str, object]) -> None:
            waits.append(str(extra["reason"]))
            if len(waits) == tries:
                other.execute("rollback")
                release.set()

        monkeypatch.setattr(logger, "info", info)
        yield
        assert release.is_set()


@pytest.mark.usefixtures("pauses")
@pytest.mark.parametrize(
    "text",
    [
        b"alter table agent_commands add column test_column int;\n",
        CONCURRENT.text,
    ],
)
def test_a_migration_that_gets_no_lock_gives_way_and_tries_again(
    conn: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    """A statement that waits for a lock makes everybody behind it wait; a submission never waits for long."""
    waits: list[str] = []
    done: list[str] = []
    with held_back(database_url, 2, waits, monkeypatch):
        schema_files.apply(conn, SchemaFile(name="9001_test.sql", text=text), recorder(done))

    assert waits == ["LockNotAvailable"] * 2
    assert done == ["recorded"]


def test_submissions_go_on_while_a_table_gets_a_column_and_an_index(conn: Connection, database_url: str) -> None:
    """Every one of them succeeds, before, during and after: nothing that serves is stopped for a migration."""
    create_agent(conn)
    done = threading.Event()
    written = [0, 0]

    def submit(place: int) -> None:
        with open_connection(database_url) as other:
            while not done.is_set() or written[place] < 10:
                put(other, f"k-{place}-{written[place]}")
                written[place] += 1

    with ThreadPoolExecutor(len(written)) as writers:
        writing = [writers.submit(submit, place) for place in range(len(written))]
        try:
            for name, text in (("9001_test.sql", b"alter table agent_commands add column test_column int;\n"),
                               ("9002_test.sql", CONCURRENT.text)):  # fmt: skip
                schema_files.apply(conn, SchemaFile(name=name, text=text), recorder([]))
        finally:
            done.set()
        for each in writing:
            each.result()

    assert conn.execute("select count(*) from agent_commands").fetchone() == (sum(written),)
    assert is_valid(conn, "test_action") is True


def test_the_release_check_names_the_files_that_are_missing(conn: Connection) -> None:
    """Also one that was applied with another text."""
    assert migrations.missing(conn) == []
    conn.execute("delete from schema_migrations where name like '0003%'")
    conn.execute("update schema_migrations set checksum = 'other' where name like '0004%'")

    assert [name[:4] for name in migrations.missing(conn)] == ["0003", "0004"]
