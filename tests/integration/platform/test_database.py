"""The one connection of an execution environment: it is opened again after a failure, and no statement waits for ever."""

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from dispatcher.commands import claims
from dispatcher.platform import database
from dispatcher.platform.database import Connection
from tests.function_environment import function_environment
from tests.rows import create_agent, put
from tests.secrets_manager import secrets_manager


@pytest.fixture(autouse=True)
def _environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of a function that has not run yet."""
    monkeypatch.setattr(database, "RETRY_PAUSES", (0.01, 0.01))
    with function_environment(database_url, monkeypatch):
        yield


def kill(conn: Connection, victim: Connection) -> None:
    """End another session, as a failover does."""
    conn.execute("select pg_terminate_backend(%s, 1000)", (victim.info.backend_pid,))


def test_an_environment_whose_connection_broke_opens_another(conn: Connection) -> None:
    """Environments are frozen between events; the connection object itself still says that it is open."""
    with database.connect() as first:
        kill(conn, first)

    with database.connect() as second:
        assert second.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize(("setting", "prepared"), [("true", 1), ("", 0)])
def test_only_the_hot_statements_are_prepared_and_only_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, setting: str, prepared: int
) -> None:
    """A prepared statement pins a proxy.  A list with many filters is planned for the filters that it has."""
    monkeypatch.setenv("DATABASE_PREPARES", setting)
    count = "select count(*)::int from pg_prepared_statements"
    with database.connect() as conn:
        for _ in range(10):
            claims.claim(conn, "a1")
            assert conn.execute(count).fetchone() == (prepared,)


def test_work_that_the_database_interrupts_is_repeated(conn: Connection) -> None:
    """An agent does not repeat its report."""
    create_agent(conn)
    put(conn, "k1")
    tries: list[int] = []

    def work(mine: Connection) -> int:
        tries.append(1)
        if len(tries) == 1:
            kill(conn, mine)
        return mine.execute("update agent_commands set priority = 1").rowcount

    assert database.persistently(work) == 1
    assert len(tries) == 2


def test_after_a_failover_work_goes_to_the_new_writer(conn: Connection) -> None:
    """The old writer answers but is read-only: the connection to it is not kept."""
    create_agent(conn)
    put(conn, "k1")
    with database.connect() as mine:
        mine.execute("set default_transaction_read_only = on")

    def work(mine: Connection) -> int:
        return mine.execute("update agent_commands set priority = 1").rowcount

    assert database.persistently(work) == 1


def test_work_that_fails_for_another_reason_is_not_repeated() -> None:
    """Only interruptions are retried."""
    tries: list[int] = []

    def work(mine: Connection) -> None:
        tries.append(1)
        mine.execute("select nonsense")

    with pytest.raises(psycopg.errors.UndefinedColumn):
        database.persistently(work)
    assert tries == [1]


def test_the_timeouts_of_the_role_end_every_wait() -> None:
    """A lock that is never released ends the statement, and the function does not hang until it is killed."""
    with database.connect() as mine:
        for name, value in (("lock_timeout", "5s"), ("statement_timeout", "30s"), ("TimeZone", "UTC")):
            assert mine.execute(sql.SQL("show {}").format(sql.Identifier(name.lower()))).fetchone() == (value,)


def test_a_password_that_was_rotated_is_read_again(
    database_url: str, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old password is cached for five minutes; meanwhile no function could log in."""
    url = urlsplit(database_url)
    role = "rotated_" + url.path[1:]
    name = sql.Identifier(role)
    secret = {"host": "127.0.0.1", "port": url.port, "dbname": url.path[1:], "username": role}
    conn.execute(sql.SQL("create role {} login password 'first'").format(name))
    try:
        with secrets_manager(monkeypatch) as secrets:
            monkeypatch.delenv("DATABASE_URL")
            monkeypatch.setenv("DATABASE_SECRET_ARN", secrets.put("db", json.dumps(secret | {"password": "first"})))
            with database.connect() as first:
                pid = first.info.backend_pid
            conn.execute(sql.SQL("alter role {0} password 'second'; grant {0} to current_user").format(name))
            secrets.put("db", json.dumps(secret | {"password": "second"}))
            conn.execute("select pg_terminate_backend(%s, 1000)", (pid,))

            with database.connect() as second:
                assert second.execute("select current_user").fetchone() == (role,)
    finally:
        if database._kept is not None:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            database._kept.close()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        conn.execute(sql.SQL("drop role {}").format(name))


def test_a_log_in_with_iam_that_fails_is_not_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each token is signed anew and looks different; with a database that is down, the function would wait twice."""
    tried: list[str] = []

    def refuse(url: str) -> Connection:
        tried.append(url)
        raise psycopg.OperationalError

    for variable, value in {
        "DATABASE_URL": "",
        "DATABASE_ROLE": "dispatcher",
        "DATABASE_HOST": "acd.cluster-abc.eu-central-1.rds.amazonaws.com",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("DATABASE_SECRET_ARN", raising=False)
    monkeypatch.setattr(database, "open_connection", refuse)

    with pytest.raises(psycopg.OperationalError), database.connect():
        pass

    assert len(tried) == 1
