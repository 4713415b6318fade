"""Time that passes without waiting.

The database's clock cannot be set.  But N seconds have passed when every timestamp in every table is N seconds older, so
nothing in the layer has to know about it.  A function's own clock, which measures its posts, is moved by as much.
"""

import time
from dataclasses import dataclass

from psycopg import sql

from dispatcher.platform.database import Connection
from tests.simulation.table_columns import timestamp_columns


@dataclass(slots=True)
class SimulatedClock:
    """A clock that runs like the real one and can be moved forward; it replaces the module `time`."""

    shifted: float = 0.0
    """The seconds that passed for the database and for all others."""
    slept: float = 0.0
    """The seconds that only functions notice, because they slept or waited for an answer."""

    def monotonic(self) -> float:
        """Return the time, like `time.monotonic`."""
        return self.passed() + self.slept

    def sleep(self, seconds: float) -> None:
        """Move forward instead of sleeping."""
        self.slept += seconds

    def passed(self) -> float:
        """Return the time for the database and for all others that do not sleep."""
        return time.monotonic() + self.shifted


class TimeShift:
    """Lets time pass in one database."""

    def __init__(self, conn: Connection) -> None:
        older = sql.SQL("{0} = {0} - %(seconds)s * interval '1 second'")
        updates = [
            sql.SQL("update {} set {}").format(
                sql.Identifier(table), sql.SQL(", ").join(older.format(sql.Identifier(name)) for name in names)
            )
            for table, names in timestamp_columns(conn).items()
        ]
        self._statement = sql.SQL("; ").join(updates).as_string(conn)

    def apply(self, conn: Connection, seconds: int) -> None:
        """Make everything older, in one transaction."""
        conn.execute(self._statement.replace("%(seconds)s", str(int(seconds))).encode())
