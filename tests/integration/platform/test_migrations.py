"""Migrations: each schema file is applied once, and the roles get what they need and no more."""

import contextlib
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg import sql

from dispatcher.platform import functions, migrations
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.migrations import migrate
from tests.rows import create_agent, put, statuses


def test_the_schema_is_applied_once_and_a_second_migration_changes_nothing(conn: Connection) -> None:
    """R6, R7: the same function on every installation; existing rows stay."""
    create_agent(conn)
    put(conn, "k1")

    assert migrate(conn) == []
    assert statuses(conn) == {"k1": "pending"}


def test_a_schema_file_that_was_changed_after_it_had_been_applied_is_refused(conn: Connection) -> None:
    """Otherwise two installations with the same list of files would differ."""
    conn.execute("update schema_migrations set checksum = 'other'")

    with pytest.raises(RuntimeError, match="was changed after"):
        migrate(conn)


def test_a_migration_sets_the_timeouts_of_the_role(conn: Connection, server: str) -> None:
    """Earlier timeouts of the role are replaced; the test rolls back, because all databases of a server share the role."""
    with psycopg.connect(server, autocommit=True) as admin, conn.transaction(force_rollback=True):
        # One at a time, as in conftest: two transactions cannot alter a role at once.
        admin.execute("select pg_advisory_lock(1)")
        conn.execute("alter role current_user reset all")
        migrate(conn)
        row = conn.execute("select rolconfig from pg_roles where rolname = current_user").fetchone()

    assert row is not None
    assert {
        "lock_timeout=5s",
        "statement_timeout=30s",
        "idle_in_transaction_session_timeout=30s",
        "client_connection_check_interval=1s",
    } <= set(row[0] or [])


def test_the_role_of_the_functions_can_change_rows_and_nothing_else(
    server: str, database_url: str, conn: Connection
) -> None:
    """An attacker who takes over a function can change neither the schema nor the audit log nor another role."""
    url = urlsplit(database_url)
    role = "granted_" + url.path[1:]
    name = sql.Identifier(role)
    with contextlib.ExitStack() as stack:
        # One at a time, where several runs share a server: the role rds_iam is the server's.
        admin = stack.enter_context(psycopg.connect(server, autocommit=True))
        admin.execute("select pg_advisory_lock(2)")
        created = conn.execute("select from pg_roles where rolname = 'rds_iam'").fetchone() is None
        if created:
            conn.execute("create role rds_iam")
            stack.callback(conn.execute, "drop role rds_iam")
        stack.callback(conn.execute, sql.SQL("drop owned by {0}; drop role {0}").format(name))
        migrations.grant_to(conn, role)
        migrations.grant_to(conn, role)
        conn.execute(sql.SQL("alter role {0} password 'in place of IAM'; grant {0} to current_user").format(name))
        create_agent(conn)

        password = quote("in place of IAM")
        with open_connection(f"postgresql://{role}:{password}@127.0.0.1:{url.port}{url.path}") as function:
            put(function, "k1")
            function.execute("update agent_commands set priority = 1")
            assert statuses(function) == {"k1": "pending"}
            function.execute("insert into audit_log (actor, action) values ('a', 'b')")
            assert function.execute("show statement_timeout").fetchone() == ("30s",)
            for forbidden in (
                "create table mine (id int)",
                "drop table agents",
                "alter table agents add mine int",
                "update audit_log set actor = 'other'",
                "delete from audit_log",
                "delete from schema_migrations",
                "create role another",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    function.execute(forbidden)


def test_the_functions_of_a_release_that_serves_outlive_several_tries_of_the_next_one(conn: Connection) -> None:
    """`make migrate` from a shell is repeated with mended code, while the release of three months ago serves."""
    for name, days in {"engine_serves": 90, "engine_try_1": 0.3, "engine_try_2": 0.2, "engine_try_3": 0.1}.items():
        conn.execute(sql.SQL("create schema {}").format(sql.Identifier(name)))
        conn.execute("insert into engine_schemas values (%s, now() - %s * interval '1 day')", (name, days))

    functions.create(conn)
    assert "engine_serves" in schemas(conn)

    conn.execute("update engine_schemas set used_at = used_at - interval '8 days' where name like 'engine_try%'")
    functions.create(conn)
    assert schemas(conn) == {"engine_try_1", "engine_try_2", "engine_try_3", functions.schema()}


def schemas(conn: Connection) -> set[str]:
    """Return the schemas with the functions of releases."""
    return {
        name for (name,) in conn.execute("select nspname from pg_namespace where nspname like 'engine%'").fetchall()
    }
