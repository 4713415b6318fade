"""Time that passes without waiting.

The database's clock cannot be set, but only differences count: N seconds have passed when every timestamp in every table
is N seconds older.  `now()` stays the real one, so nothing in the layer has to know; a function's own clock, which
measures how long its posts take, is moved by as much.
"""

import time
from dataclasses import dataclass, field

from psycopg import sql

from dispatcher.platform.database import Connection
from tests.simulation.columns import moments


@dataclass(slots=True)
class Clock:
    """A clock that runs as the real one does, and can be moved on."""

    skipped: float = field(default=0.0)

    def monotonic(self) -> float:
        """Tell the time, as `time.monotonic` does."""
        return time.monotonic() + self.skipped

    def sleep(self, seconds: float) -> None:
        """Move on instead of sleeping."""
        self.skipped += seconds


class Shift:
    """Makes everything in one database older."""

    def __init__(self, conn: Connection) -> None:
        self._columns = moments(conn)
        self._statements: dict[int, str] = {}

    def apply(self, conn: Connection, seconds: int) -> None:
        """Let the seconds pass: all tables in one transaction and one round trip."""
        if seconds not in self._statements:
            by = sql.SQL("{0} = {0} - interval {1}")
            updates = [
                sql.SQL("update {} set {}").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(by.format(sql.Identifier(name), sql.Literal(f"{seconds} s")) for name in names),
                )
                for table, names in self._columns.items()
            ]
            self._statements[seconds] = sql.SQL("; ").join(updates).as_string(conn)
        conn.execute(self._statements[seconds].encode())
