"""The schema, applied file by file."""

import hashlib
import time
from importlib import resources

from dispatcher.database import Connection
from dispatcher.errors import Unavailable

# Any number, but the same for ever: whoever holds it is the one that applies.
LOCK = 7_305_211_904
LOCK_PATIENCE_SECONDS = 120.0

# A statement that runs, or waits for a lock, longer than this runs into something broken; the sweep comes back to it.  The
# role carries the settings, because a SET would pin a session of RDS Proxy.
ROLE_SETTINGS = (
    "alter role current_user set lock_timeout = '5s'",
    "alter role current_user set statement_timeout = '30s'",
    "alter role current_user set idle_in_transaction_session_timeout = '30s'",
    "alter role current_user set timezone = 'UTC'",
)


def migrate(conn: Connection) -> list[str]:
    """Apply every schema file that is not applied yet, each in a transaction of its own, and return their names.

    Wants a direct connection, not one through a proxy.  Raises Unavailable where another one has been applying for two
    minutes, and RuntimeError where an applied file was changed afterwards.
    """
    conn.execute("set statement_timeout = 0")
    _lock(conn)
    try:
        conn.execute(
            "create table if not exists schema_migrations"
            " (name text primary key, checksum text not null, applied_at timestamptz not null default now())"
        )
        applied: dict[str, str] = dict(conn.execute("select name, checksum from schema_migrations").fetchall())
        new: list[str] = []
        for name, sql in _files():
            checksum = hashlib.sha256(sql).hexdigest()
            if name not in applied:
                with conn.transaction():
                    conn.execute(sql)
                    conn.execute("insert into schema_migrations (name, checksum) values (%s, %s)", (name, checksum))
                new.append(name)
            elif applied[name] != checksum:
                raise RuntimeError(f"The schema file {name} was changed after it had been applied.")
        for statement in ROLE_SETTINGS:
            conn.execute(statement)
        return new
    finally:
        conn.execute("select pg_advisory_unlock(%s)", (LOCK,))
        conn.execute("reset statement_timeout")


def _lock(conn: Connection) -> None:
    # Asked again and again instead of waited for: a session that waits for a lock holds a snapshot, which `create index
    # concurrently` waits for in turn.
    end = time.monotonic() + LOCK_PATIENCE_SECONDS
    while True:
        row = conn.execute("select pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
        if row and row[0]:
            return
        if time.monotonic() > end:
            raise Unavailable("Another migration has been running for two minutes.")
        time.sleep(0.1)


def _files() -> list[tuple[str, bytes]]:
    folder = resources.files("dispatcher") / "schema"
    return sorted((file.name, file.read_bytes()) for file in folder.iterdir() if file.name.endswith(".sql"))
