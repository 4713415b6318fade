"""Functions in the database: each hot step of the engine is one call, planned once for each connection.

The file `claim.function.sql` stands beside the module that calls it.  All of them are created in one schema, whose name is a
hash of their texts.  So each version of the code calls exactly its own functions, also while two versions run side by side, and
the session needs no prepared statement, which would pin a proxy.  In a file `{f}` is the name of that schema.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from psycopg import sql

from dispatcher.platform.database import Connection

ENDING = ".function.sql"
KEPT, KEPT_DAYS = 3, 7
"""A schema stays until so many newer ones are so old: a release serves for months, and several tries may follow on one day."""


def call(text: str) -> bytes:
    """Return a statement that calls functions, with their schema as `{f}`.

    The result is bytes, because type checkers accept only a literal `str` as a query.
    """
    return text.replace("{f}", schema()).encode()


@cache
def schema() -> str:
    """Return the name of the schema that has the functions of this code."""
    digest = hashlib.sha256("\0".join(_texts()).encode()).hexdigest()
    return f"engine_{digest[:12]}"


def create(conn: Connection) -> bool:
    """Create the functions of this code, and drop those of old releases; return whether they are new.  Safe to repeat."""
    name = schema()
    with conn.transaction():
        known = {
            row[0] for row in conn.execute("select nspname from pg_namespace where nspname like 'engine%'").fetchall()
        }
        if name not in known:
            conn.execute("set local check_function_bodies = off")  # they call each other
            conn.execute(sql.SQL("create schema {}").format(sql.Identifier(name)))
            for text in _texts():
                conn.execute(text.replace("{f}", name).encode())
        conn.execute(
            "insert into engine_schemas (name) values (%s) on conflict (name) do update set used_at = now()", (name,)
        )
        for (old,) in conn.execute(
            """
            delete from engine_schemas o
            where %(kept)s <= (
                select count(*)
                from engine_schemas newer
                where newer.used_at > o.used_at
                  and newer.used_at < now() - %(days)s * interval '1 day')
            returning o.name
            """,
            {"kept": KEPT, "days": KEPT_DAYS},
        ).fetchall():
            conn.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(old)))
    return name not in known


def are_there(conn: Connection) -> bool:
    """Tell whether the functions of this code are in the database, and this role may call them."""
    row = conn.execute(
        "select coalesce((select has_schema_privilege(oid, 'usage') from pg_namespace where nspname = %s), false)",
        (schema(),),
    ).fetchone()
    return row is not None and row[0]


def _texts() -> list[str]:
    return [file.read_text() for file in sorted(_files(resources.files("dispatcher")), key=lambda file: file.name)]


def _files(folder: Traversable) -> Iterator[Traversable]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry)
        elif entry.name.endswith(ENDING):
            yield entry
