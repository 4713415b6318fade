"""The schema's files, and how one is applied.

A file is applied in one transaction.  One whose first line is `-- no transaction` is applied statement by statement, for what
PostgreSQL refuses in a transaction: `create index concurrently if not exists`.  A statement ends at the end of a line.
"""

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources

import psycopg
from psycopg import sql

from dispatcher.platform.database import Connection
from dispatcher.platform.observability import logger

MARKER = b"-- no transaction"
LOCK_TIMEOUT = "1s"
"""How long a statement waits for a lock: whoever needs the table waits behind it."""
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)
"""Seconds between the tries of a statement that got no lock."""
_COMMENT = re.compile(r"--[^\n]*")
_INDEX = re.compile(r"\s*create\s+(?:unique\s+)?index\s+concurrently\s+(if\s+not\s+exists\s+)?(\w+)", re.IGNORECASE)
# Two index builds that wait for each other are a deadlock; a build that gets no lock leaves an invalid index.
_PASSING = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaFile:
    """A numbered file of the schema."""

    name: str
    text: bytes

    @property
    def checksum(self) -> str:
        """The hash that tells whether the file was changed after it had been applied."""
        return hashlib.sha256(self.text).hexdigest()

    @property
    def in_transaction(self) -> bool:
        """Whether the file is applied as a whole or not at all."""
        return not self.text.startswith(MARKER)

    def statements(self) -> list[str]:
        """Return the statements of a file without a transaction."""
        text = _COMMENT.sub("", self.text.decode())
        return [part.strip() for part in re.split(r";[ \t]*(?:\n|$)", text) if part.strip()]


class NotAppliedError(RuntimeError):
    """A file could not be applied; the text names it, says what stays of it, and what to do next."""

    def __init__(self, file: SchemaFile, error: psycopg.Error) -> None:
        stays = "Nothing of it" if file.in_transaction else "What stands before the failing statement"
        said = error.diag.message_primary or str(error)
        text = f"{file.name} was not applied: {said}.  {stays} stays, and the code of before serves on."
        if isinstance(error, psycopg.errors.LockNotAvailable):
            text += "  Next: end the transaction that holds the lock (pg_stat_activity), and migrate again."
        super().__init__(text)


def packaged() -> list[SchemaFile]:
    """Return the files of this code, in their order."""
    folder = resources.files("dispatcher") / "schema"
    files = [file for file in folder.iterdir() if file.name.endswith(".sql")]
    return [SchemaFile(name=file.name, text=file.read_bytes()) for file in sorted(files, key=lambda file: file.name)]


def apply(conn: Connection, file: SchemaFile, record: Callable[[], object]) -> None:
    """Apply a file and record it; needs a connection in autocommit.

    A statement waits for a lock for LOCK_TIMEOUT only and is tried again, so that the statements of others never queue behind
    it for long.  Raises NotAppliedError.
    """
    conn.execute(sql.SQL("set lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))
    try:
        if file.in_transaction:
            _patiently(partial(_at_once, conn, file, record), file.name)
            return
        for statement in file.statements():
            _patiently(partial(_alone, conn, statement), file.name)
        record()
    except psycopg.Error as error:
        raise NotAppliedError(file, error) from error
    finally:
        if not conn.closed:
            conn.execute("reset lock_timeout")


def _at_once(conn: Connection, file: SchemaFile, record: Callable[[], object]) -> None:
    with conn.transaction():
        conn.execute(file.text)
        record()


def _alone(conn: Connection, statement: str) -> None:
    """Run a statement outside of a transaction; an index that an earlier try left invalid is built again."""
    if index := _INDEX.match(statement):
        if not index[1]:
            raise ValueError(f"Write `create index concurrently if not exists {index[2]}`: a try may have built it.")
        _drop_invalid(conn, index[2])
    conn.execute(statement.encode())


def _drop_invalid(conn: Connection, index: str) -> None:
    invalid = conn.execute(
        "select from pg_index where indexrelid = to_regclass(%s) and not indisvalid", (index,)
    ).fetchone()
    if invalid is not None:
        logger.warning("Invalid index dropped", extra={"index": index})
        conn.execute(sql.SQL("drop index concurrently if exists {}").format(sql.Identifier(index)))


def _patiently(work: Callable[[], None], name: str) -> None:
    for pause in PAUSES:
        try:
            return work()
        except _PASSING as error:
            logger.info("Migration waits", extra={"file": name, "reason": type(error).__name__, "pause": pause})
            time.sleep(pause)
    return work()
