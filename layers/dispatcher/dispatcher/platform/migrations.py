"""The schema: numbered .sql files, each applied once, and the functions of this release."""

import time
from functools import partial

from psycopg import sql

from dispatcher.errors import Unavailable
from dispatcher.platform import functions, schema_files
from dispatcher.platform.database import Connection
from dispatcher.platform.schema_files import SchemaFile

# The number has no meaning, but it must never change: the holder of this lock applies the files.
LOCK = 7_305_211_904
LOCK_PATIENCE_SECONDS = 120.0

# If a statement runs, or waits for a lock, for longer than this, something is broken; the sweep tries again later.  The
# role carries the settings, because a SET would pin a session of RDS Proxy.
ROLE_SETTINGS = {
    "lock_timeout": "5s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
    # A statement ends with its client: a function that was killed must not hold locks, nor claim what nobody will post.
    "client_connection_check_interval": "1s",
    "timezone": "UTC",
    # A plan uses an index although the statistics, which may be older than an outage, say that a table is empty.
    "enable_seqscan": "off",
    "jit": "off",
}


# Files whose comments were reworded after databases had applied them, with the old checksums: the statements are the same.
REWORDED = {
    "0001_dispatcher.sql": "b1f05d18a2ca270e1ff11a92c1bb4abbe17c698ab59f059c0d32885077729fb5",  # pragma: allowlist secret
    "0002_security.sql": "a2ed9d0db3e8a775986f5a096596bf13d5983e4b67c1317c660598a81e97fe81",  # pragma: allowlist secret
}


def migrate(conn: Connection) -> list[str]:
    """Apply each schema file that is not applied yet, and record it; return the names of the new ones.

    Needs a direct connection, not one through a proxy.  Raises Unavailable if another migration has been running for two
    minutes, RuntimeError if a file was changed after it had been applied, and NotAppliedError.
    """
    conn.execute("set statement_timeout = 0")
    _lock(conn)
    try:
        conn.execute(
            "create table if not exists schema_migrations"
            " (name text primary key, checksum text not null, applied_at timestamptz not null default now())"
        )
        applied = _applied(conn)
        new: list[str] = []
        for file in schema_files.packaged():
            if file.name not in applied:
                schema_files.apply(conn, file, partial(_record, conn, file))
                new.append(file.name)
            elif not _is_same(file, applied[file.name]):
                raise RuntimeError(f"The schema file {file.name} was changed after it had been applied.")
        functions.create(conn)
        # This database may have been restored into another server, where transactions are counted anew.
        conn.execute("select feed_begin_life() from feed where origin <> feed_origin()")
        _set_timeouts(conn, sql.SQL("current_user"))
        return new
    finally:
        conn.execute("select pg_advisory_unlock(%s)", (LOCK,))
        conn.execute("reset statement_timeout")


def missing(conn: Connection) -> list[str]:
    """Return the schema files of this code that are not applied, or were applied with another text."""
    applied = _applied(conn)
    files = schema_files.packaged()
    return [file.name for file in files if file.name not in applied or not _is_same(file, applied[file.name])]


def grant_to(conn: Connection, role: str) -> None:
    """Let the functions' role read and write rows, but not change the schema or other roles.

    On AWS it logs in with IAM; on one machine it exists already, and has a password.  Needs the owner of the schema, who may
    create roles.  Safe to repeat.
    """
    name = sql.Identifier(role)
    with conn.transaction():
        if conn.execute("select from pg_roles where rolname = %s", (role,)).fetchone() is None:
            conn.execute(sql.SQL("create role {} login").format(name))
        if conn.execute("select from pg_roles where rolname = 'rds_iam'").fetchone():
            conn.execute(sql.SQL("grant rds_iam to {}").format(name))
        for statement in (
            "grant usage on schema public to {}",
            "grant select, insert, update, delete on all tables in schema public to {}",
            "grant usage on all sequences in schema public to {}",
            # The trigger of the audit log refuses this as well.
            "revoke update, delete on audit_log from {}",
            "revoke insert, update, delete on schema_migrations, engine_schemas, feed_lives from {}",
        ):
            conn.execute(sql.SQL(statement).format(name))
        for (schema,) in conn.execute("select name from engine_schemas").fetchall():
            conn.execute(sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(schema), name))
        _set_timeouts(conn, name)


def _set_timeouts(conn: Connection, role: sql.Composable) -> None:
    for setting, value in ROLE_SETTINGS.items():
        conn.execute(sql.SQL("alter role {} set {} = {}").format(role, sql.Identifier(setting), sql.Literal(value)))


def _lock(conn: Connection) -> None:
    # Polled: a session that waits for a lock holds a snapshot, and `create index concurrently` waits for that snapshot.
    end = time.monotonic() + LOCK_PATIENCE_SECONDS
    while True:
        row = conn.execute("select pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
        if row and row[0]:
            return
        if time.monotonic() > end:
            raise Unavailable("Another migration has been running for two minutes.")
        time.sleep(0.1)


def _applied(conn: Connection) -> dict[str, str]:
    return dict(conn.execute("select name, checksum from schema_migrations").fetchall())


def _is_same(file: SchemaFile, checksum: str) -> bool:
    return checksum in {file.checksum, REWORDED.get(file.name)}


def _record(conn: Connection, file: SchemaFile) -> None:
    # The old checksum of a reworded file, so that older code still accepts this database.
    conn.execute(
        "insert into schema_migrations (name, checksum) values (%s, %s)",
        (file.name, REWORDED.get(file.name, file.checksum)),
    )
