"""Requests that wait for events.  Only a few wait at a time: each takes up a process, or an instance of its function."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from dispatcher.access.scopes import Scope
from dispatcher.events import feed
from dispatcher.events.feed import Cursor, EventFilter, Page
from dispatcher.platform.database import Connection

START = "start"
PAUSE_SECONDS = 0.25
"""Between two looks; no statement runs meanwhile."""
SEARCH_SECONDS = 2.0
"""How long one request looks through events that its filter does not want."""

Connect = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A page, and whether the caller could not wait for it because too many others wait."""

    page: Page
    crowded: bool = False


def read(
    connect: Connect,
    *,
    after: str | None,
    latest: int | None = None,
    limit: int,
    wanted: EventFilter,
    scope: Scope,
    seconds: float,
    places: int,
) -> Answered:
    """Read the events after a cursor; where there are none, wait for them, if one of the `places` is free.

    `after` is the text of a cursor, START for the oldest events that are kept, or None for those from now on.  `latest` begins
    with so many of the latest events instead.
    """
    with connect() as conn:
        if latest is None:
            page = _search(conn, _cursor(conn, after), limit, wanted, scope)
        else:
            page = feed.latest(conn, limit=latest, wanted=wanted, scope=scope)
        if page.events or page.more or seconds <= 0:
            return Answered(page=page)
        place = _take_place(conn, seconds, places)
        if place is None:
            return Answered(page=page, crowded=True)
    try:
        page = _wait(connect, page, seconds, lambda conn, after: _search(conn, after, limit, wanted, scope))
    finally:
        with connect() as conn:
            place.leave(conn)
    return Answered(page=page)


def _wait(connect: Connect, page: Page, seconds: float, search: Callable[[Connection, Cursor], Page]) -> Page:
    """Search again whenever there are more events, until one is found or the time is up; return the last page."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(PAUSE_SECONDS, left))
        with connect() as conn:
            if feed.has_more(conn, page.after):
                page = search(conn, page.after)
        if page.events or page.more:
            break
    return page


def _cursor(conn: Connection, after: str | None) -> Cursor:
    if after is None:
        return feed.newest(conn)
    return feed.oldest(conn) if after == START else Cursor.parse(after)


def _search(conn: Connection, after: Cursor, limit: int, wanted: EventFilter, scope: Scope) -> Page:
    """Read pages until one has an event, or none follow, or SEARCH_SECONDS have passed."""
    end = time.monotonic() + SEARCH_SECONDS
    page = feed.read(conn, after=after, limit=limit, wanted=wanted, scope=scope)
    while not page.events and page.more and time.monotonic() < end:
        page = feed.read(conn, after=page.after, limit=limit, wanted=wanted, scope=scope)
    return page


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    slot: int
    waits_until: datetime

    def leave(self, conn: Connection) -> None:
        conn.execute("delete from feed_waiters where slot = %s and waits_until = %s", (self.slot, self.waits_until))


def _take_place(conn: Connection, seconds: float, places: int) -> _Place | None:
    """Take a place to wait; None if all are taken.  A place that was left behind is free after its time."""
    row = conn.execute(
        """
        insert into feed_waiters as w (slot, waits_until)
        select n, clock_timestamp() + (%(seconds)s + 5) * interval '1 second'
        from generate_series(1, %(places)s) as n
        where not exists (
            select
            from feed_waiters t
            where t.slot = n
              and t.waits_until > clock_timestamp())
        order by random()  -- two who come at the same moment seldom choose the same place
        limit 1
        on conflict (slot) do update
        set waits_until = excluded.waits_until
        where w.waits_until <= clock_timestamp()
        returning slot, waits_until
        """,
        {"seconds": seconds, "places": places},
    ).fetchone()
    return None if row is None else _Place(slot=row[0], waits_until=row[1])
