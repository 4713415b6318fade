"""Sinks: where a program of the service that passes events on has come to, and the lease that one of its workers holds."""

from dataclasses import dataclass, replace
from typing import Self
from uuid import UUID

from dispatcher.events import feed
from dispatcher.events.feed import Cursor
from dispatcher.platform.database import Connection

LEASE_SECONDS = 60
"""Longer than one step between two calls of `advance` takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """A sink whose lease this worker holds."""

    name: str
    token: UUID
    after: Cursor

    @classmethod
    def take(cls, conn: Connection, name: str) -> Self | None:
        """Take the lease; None if another worker holds it.  A new sink begins with the events from now on."""
        taken = cls._take(conn, name)
        if taken is None:
            now = feed.newest(conn)
            conn.execute(
                "insert into sinks (name, life, position, number) values (%s, %s, %s, %s) on conflict (name) do nothing",
                (name, now.life, now.position, now.number),
            )
            taken = cls._take(conn, name)
        return taken

    @classmethod
    def _take(cls, conn: Connection, name: str) -> Self | None:
        row = conn.execute(
            """
            update sinks
            set lease_token = gen_random_uuid(),
                lease_expires_at = clock_timestamp() + %s * interval '1 second',
                ran_at = clock_timestamp()
            where name = %s
              and (lease_expires_at is null or lease_expires_at < clock_timestamp())
            returning lease_token, life, position, number
            """,
            (LEASE_SECONDS, name),
        ).fetchone()
        if row is None:
            return None
        token, life, position, number = row
        return cls(name=name, token=token, after=Cursor(life=life, position=position, number=number))

    def advance(self, conn: Connection, after: Cursor) -> Self | None:
        """Record that everything up to here was passed on, and renew the lease; None if another worker holds it now."""
        moved = conn.execute(
            """
            update sinks
            set life = %s,
                position = %s,
                number = %s,
                lease_expires_at = clock_timestamp() + %s * interval '1 second',
                ran_at = clock_timestamp()
            where name = %s
              and lease_token = %s
            """,
            (after.life, after.position, after.number, LEASE_SECONDS, self.name, self.token),
        )
        return replace(self, after=after) if moved.rowcount else None

    def release(self, conn: Connection, error: str | None) -> None:
        """Give the lease back; `error` says why the next events could not be passed on."""
        conn.execute(
            """
            update sinks
            set lease_token = null,
                lease_expires_at = null,
                error = %(error)s,
                error_since = case when %(error)s::text is not null then coalesce(error_since, now()) end
            where name = %(name)s
              and lease_token = %(token)s
            """,
            {"error": error, "name": self.name, "token": self.token},
        )
