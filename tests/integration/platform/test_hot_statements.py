"""Hot statements: they do what a cursor does, with fewer steps."""

import gc
import weakref
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from unittest import mock
from uuid import UUID

import psycopg
import pytest
from psycopg.abc import PQGen
from psycopg.types.json import Jsonb

from dispatcher.platform import database
from dispatcher.platform.database import Connection
from dispatcher.platform.hot_statements import HotStatement
from dispatcher.platform.json_text import dumps

TEXT = 'O\'Neill \\ "quoted" {a,b} %s %% \t\n ü 🚀'
VALUES: dict[str, Any] = {
    "text": TEXT,
    "bigint": 2**62,
    "boolean": True,
    "double precision": 1 / 3,
    "bytea": bytes(range(256)),
    "uuid": UUID(int=7),
    "timestamptz": datetime(2026, 11, 26, 12, 0, 0, 1, UTC),
    "text[]": [TEXT, "", "null"],
    "int[]": [1, 2**31 - 1],
    "bytea[]": [b"\\", b""],
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("value", [True, False])
def test_a_value_comes_back_as_it_was(conn: Connection, kind: str, *, value: bool) -> None:
    """So does NULL."""
    statement = HotStatement(f"select %(value)s::{kind}, %(value)s::{kind} is null".encode())

    assert statement.fetch(conn, {"value": VALUES[kind] if value else None}) == [
        (VALUES[kind] if value else None, not value)
    ]


def test_a_number_in_json_keeps_every_digit(conn: Connection) -> None:
    """As with `dumps` and the loader of the connection."""
    document = {"n": Decimal("1.00000000000000000001"), "t": TEXT}

    rows = HotStatement(b"select %(document)s::jsonb").fetch(conn, {"document": Jsonb(document, dumps=dumps)})

    assert rows == [(document,)]


def test_an_error_is_that_of_psycopg(conn: Connection) -> None:
    """And the connection goes on."""
    with pytest.raises(psycopg.errors.DivisionByZero):
        HotStatement(b"select 1 / %(by)s::int").fetch(conn, {"by": 0})
    with pytest.raises(psycopg.errors.UndefinedFunction):
        HotStatement(b"select no_function(%(by)s)").fetch(conn, {"by": 0})

    assert HotStatement(b"select 1 / %(by)s::int").fetch(conn, {"by": 1}) == [(1,)]


def test_a_statement_joins_a_transaction(conn: Connection) -> None:
    """One that is begun; without autocommit it would have to begin one itself."""
    insert = HotStatement(b"insert into operators (username, password_hash, role) values (%(name)s, 'x', 'reader')")
    with conn.transaction(force_rollback=True):
        insert.fetch(conn, {"name": "ann"})

    assert conn.execute("select from operators where username = 'ann'").rowcount == 0
    with (
        psycopg.connect(conn.info.dsn, password=conn.info.password) as other,
        pytest.raises(ValueError, match="begins no"),
    ):
        insert.fetch(other, {"name": "ann"})


def test_a_statement_that_takes_too_long_is_given_up(database_url: str) -> None:
    """Its caller has something to say in time."""
    statement = HotStatement(b"select pg_sleep(%(seconds)s)")
    with (
        closing(database.open_connection(database_url)) as other,
        pytest.raises(database.TimeUpError),
        database.within(0.1),
    ):
        statement.fetch(other, {"seconds": 60})


def test_a_connection_that_nobody_uses_is_forgotten(database_url: str) -> None:
    """An environment opens one after another for as long as it lives."""
    with database.open_connection(database_url) as other:
        HotStatement(b"select 1").fetch(other, {})
    forgotten = weakref.ref(other)
    del other
    gc.collect()

    assert forgotten() is None


def test_a_wait_that_does_not_begin_sends_nothing(database_url: str) -> None:
    """A process that is killed before its statement has not sent it: the simulation's histories can be replayed."""

    def die(gen: PQGen[Any]) -> None:
        gen.close()
        raise InterruptedError

    with database.open_connection(database_url) as other:
        with mock.patch.object(other, "wait", die), pytest.raises(InterruptedError):
            HotStatement(b"select 1").fetch(other, {})

        assert other.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
