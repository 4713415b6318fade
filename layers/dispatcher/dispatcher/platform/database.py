"""The connection to PostgreSQL: one for each execution environment, kept between invocations."""

import random
import select
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, TypeVar

import psycopg
from psycopg.abc import Params, PQGen, QueryNoTemplate
from psycopg.rows import kwargs_row
from psycopg.types.json import set_json_loads

from dispatcher.platform import settings
from dispatcher.platform.json_text import loads_lenient
from dispatcher.platform.observability import logger

Connection = psycopg.Connection[tuple[Any, ...]]

RETRY_PAUSES = (0.05, 0.2, 0.8)
"""Seconds before each further try.  Together they outlast a deadlock, and they fit into a handshake."""

INTERRUPTIONS = (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction)
"""Errors that pass by themselves: a deadlock, a lost connection, a server that has just become a reader."""

STALE = (psycopg.errors.DatatypeMismatch, psycopg.errors.FeatureNotSupported)
"""Errors of a prepared statement after a column has got another type: it works on a new connection."""

UNREACHABLE = "The database cannot be reached at present; try again."
"""The text for callers about an interruption."""

CONNECT_SECONDS = 3
"""Less than the shortest timeout of a function, so that it can still report the error."""

SILENT_SECONDS = 5
"""How long a server may leave data unacknowledged before the connection counts as lost."""

IDLE_SECONDS = 30.0
"""A connection that was not used for longer is tested by a statement: its environment may have been frozen meanwhile."""

T = TypeVar("T")

_until: ContextVar[float | None] = ContextVar("_until", default=None)
"""Until when the caller can wait, on this machine's monotonic clock; None: without a limit."""


class TimeUpError(psycopg.OperationalError):
    """The database did not answer within the time that its caller had."""

    def __init__(self) -> None:
        super().__init__("the database did not answer in time")


class _Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits no longer than its caller can (see `within`)."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for the server; raises TimeUpError."""
        until = _until.get()
        if until is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, max(until - time.monotonic(), 0))
        except psycopg.OperationalError as error:
            if time.monotonic() < until:
                raise
            raise TimeUpError from error


class _Kept:
    """The connection of the environment, which it lends, and when it was used."""

    def __init__(self) -> None:
        self.conn = _open()
        self.used_at = 0.0
        self._poll = select.poll()
        self._poll.register(self.conn.fileno(), select.POLLIN | select.POLLERR | select.POLLHUP)

    def __enter__(self) -> Connection:
        return self.conn

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self.used_at = time.monotonic()
        if isinstance(error, (psycopg.errors.ReadOnlySqlTransaction, TimeUpError, *STALE)):
            self.close()

    def is_alive(self) -> bool:
        """Tell whether the connection can be used again."""
        if self.conn.closed or self.conn.pgconn.transaction_status != _IDLE or self._poll.poll(0):
            return False
        if time.monotonic() - self.used_at < IDLE_SECONDS:
            return True
        try:
            self.conn.execute("")
        except psycopg.Error:
            return False
        return True

    def close(self) -> None:
        """Close the connection; the server ends its statement."""
        self.conn.close()


_IDLE = psycopg.pq.TransactionStatus.IDLE
_kept: _Kept | None = None


def open_connection(url: str) -> Connection:
    """Open a connection in autocommit mode: a single statement is a transaction; `conn.transaction()` joins several.

    Nothing is set in the session, so that a pooling proxy can share it; the role carries the timeouts (see migrations).  Each
    statement is planned for its own values, except the hot ones (see `hot_statements`).
    """
    conn = _Connection.connect(
        url,
        autocommit=True,
        prepare_threshold=None,
        connect_timeout=CONNECT_SECONDS,
        tcp_user_timeout=SILENT_SECONDS * 1000,
    )
    set_json_loads(loads_lenient, conn)
    return conn


def fetch_one(conn: Connection, make: Callable[..., T], query: QueryNoTemplate, parameters: Params = ()) -> T | None:
    """Execute a statement and build a value from its first row, with its columns as keyword arguments; None without a row."""
    with conn.cursor(row_factory=kwargs_row(make)) as cursor:
        return cursor.execute(query, parameters).fetchone()


def fetch_all(conn: Connection, make: Callable[..., T], query: QueryNoTemplate, parameters: Params = ()) -> list[T]:
    """Execute a statement and build a value from each row, with its columns as keyword arguments."""
    with conn.cursor(row_factory=kwargs_row(make)) as cursor:
        return cursor.execute(query, parameters).fetchall()


def connect() -> AbstractContextManager[Connection]:
    """Lend the environment's connection; open or reopen it if necessary.

    A connection that the server has ended is noticed without a statement: there is something to read on its socket.  One that
    was idle for long is tested, because an environment can be thawed with a dead socket.  A connection to a read-only server is
    not kept: after a failover the old writer is one.  Nor is one whose statement was given up: closed, it ends the statement.
    """
    global _kept  # noqa: PLW0603 - one connection an execution environment is what Lambda's model asks for
    if _kept is not None and not _kept.is_alive():
        _kept.close()
        _kept = None
    if _kept is None:
        with _interruptible():
            _kept = _Kept()
    return _kept


def _open() -> Connection:
    url = settings.database_url()
    try:
        return open_connection(url)
    except psycopg.OperationalError:
        # The password may have been rotated since it was read: a different one is worth another try.  An IAM log-in is
        # signed anew each time, so a second try would not help.
        if not settings.database_password_can_change() or (fresh := settings.database_url(fresh=True)) == url:
            raise
        return open_connection(fresh)


def persistently(work: Callable[[Connection], T], has_time: Callable[[], bool] = lambda: True) -> T:
    """Do the work; repeat it if the database interrupted it (a deadlock, a failover, a lost connection) and `has_time`.

    Only for guarded moves, which change nothing the second time.  Never for an insert: its commit may have happened.
    """
    for pause in RETRY_PAUSES:
        try:
            with connect() as conn:
                return work(conn)
        except TimeUpError:
            raise
        except INTERRUPTIONS as error:
            if not has_time():
                raise
            logger.warning("Database interrupted", extra={"reason": type(error).__name__, "pause": pause})
            until = _until.get()
            pause *= random.uniform(0.5, 1.5)  # noqa: S311, PLW2901 - spreads load, guards nothing
            time.sleep(pause if until is None else max(min(pause, until - time.monotonic()), 0))
    with connect() as conn:
        return work(conn)


class within:  # noqa: N801 - it is used like a function; a generator would cost twice as much
    """Give up what the database has not answered after so many seconds; raises TimeUpError, an interruption.

    The server's own timeouts do not end a wait for a server that has stopped.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._before = _until.set(time.monotonic() + self._seconds)

    def __exit__(self, *_: object) -> None:
        _until.reset(self._before)


@contextmanager
def _interruptible() -> Generator[None]:
    """Interrupt a log-in by a signal when the time of `within` is up: psycopg has no limit for all its attempts together.

    Outside of the main thread, which handles events, there is no limit.
    """
    until = _until.get()
    if until is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _time_is_up)
    signal.setitimer(signal.ITIMER_REAL, max(until - time.monotonic(), 0.001))  # 0 would be no limit
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _time_is_up(_number: int, _frame: FrameType | None) -> None:
    raise TimeUpError
