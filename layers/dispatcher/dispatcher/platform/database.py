"""The function's one connection to PostgreSQL, kept while its environment lives."""

import random
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.types.json import set_json_loads

from dispatcher.platform import settings
from dispatcher.platform.json_text import loads_lenient
from dispatcher.platform.observability import logger

Connection = psycopg.Connection[tuple[Any, ...]]

RETRY_PAUSES = (0.05, 0.2, 0.8)
"""Seconds before each further try: together longer than a deadlock takes, shorter than a handshake may."""

INTERRUPTIONS = (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction)
"""What passes by itself: a deadlock, a lost connection, a server that has just become a reader."""

UNREACHABLE = "The database cannot be reached at present; try again."
"""What callers are told of an interruption."""

CONNECT_SECONDS = 3
"""Shorter than the shortest function may take, so that it can still say what happened."""

T = TypeVar("T")

_kept: Connection | None = None


def open_connection(url: str) -> Connection:
    """Open a connection in autocommit: a statement alone is a transaction, several are one where the code says so.

    Nothing is prepared or set in the session, so that a pooling proxy can share it: the timeouts are the role's own
    (see migrations).
    """
    conn = psycopg.connect(url, autocommit=True, prepare_threshold=None, connect_timeout=CONNECT_SECONDS)
    set_json_loads(loads_lenient, conn)
    return conn


@contextmanager
def connect() -> Generator[Connection]:
    """Lend the environment's connection, opened or mended where needed.

    An environment can be thawed with a dead socket, and a connection that the server killed still says that it is open:
    one look at it an invocation (about 0.1 ms) is the price.  One that leads to a server that only reads, as the writer does
    after a failover, is not kept.
    """
    global _kept  # noqa: PLW0603 - one connection an execution environment is what Lambda's model asks for
    if _kept is not None and not _alive(_kept):
        _kept.close()
        _kept = None
    if _kept is None:
        _kept = _open()
    try:
        yield _kept
    except psycopg.errors.ReadOnlySqlTransaction:
        _kept.close()
        raise


def _open() -> Connection:
    url = settings.database_url()
    try:
        return open_connection(url)
    except psycopg.OperationalError:
        # Refused, perhaps, because the password was rotated since it was read.  Another one is worth another try; a log-in
        # with IAM is another one each time, and no better.
        if not settings.database_password_can_change() or (fresh := settings.database_url(fresh=True)) == url:
            raise
        return open_connection(fresh)


def persistently(work: Callable[[Connection], T]) -> T:
    """Do work that may be done twice, again where the database cut it short: a deadlock, a failover, a lost connection.

    For guarded moves, which touch nothing the second time; never for an insert whose commit may have happened.
    """
    for pause in RETRY_PAUSES:
        try:
            with connect() as conn:
                return work(conn)
        except INTERRUPTIONS as error:
            logger.warning("Database interrupted", extra={"reason": type(error).__name__, "pause": pause})
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load, guards nothing
    with connect() as conn:
        return work(conn)


def _alive(conn: Connection) -> bool:
    try:
        if conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            return False
        conn.execute("")
    except psycopg.Error:
        return False
    return True
