"""The change feed: every event of commands and agents, once, and those of one command or agent in their order.

Events are stored with a position (schema 0008).  A page ends below the position of the oldest transaction that still writes,
so whoever goes on after the last event of a page misses none, whichever transaction commits when.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from psycopg.rows import dict_row

from dispatcher.access.scopes import OWNER_IN_SCOPE, Scope, as_parameter
from dispatcher.agents.selectors import Selector
from dispatcher.errors import EventsGone, InvalidRequest, UnknownFeedCursor
from dispatcher.platform.database import Connection
from dispatcher.platform.functions import call
from dispatcher.platform.json_text import moment_text
from dispatcher.platform.statements import statement


class EventType(StrEnum):
    """What happened.  Each transition of a command is one event."""

    ACCEPTED = "command.accepted"
    SENT = "command.sent"
    ACKNOWLEDGED = "command.acknowledged"
    PENDING = "command.pending"
    """It returned to the queue."""
    COMPLETED = "command.completed"
    FAILED = "command.failed"
    EXPIRED = "command.expired"
    CANCELLED = "command.cancelled"
    DEAD = "command.dead"
    TIMED_OUT = "command.timed_out"
    AGENT_CREATED = "agent.created"
    AGENT_DELETED = "agent.deleted"
    AGENT_APPROVED = "agent.approved"
    AGENT_REJECTED = "agent.rejected"
    AGENT_CONNECTED = "agent.connected"
    AGENT_DISCONNECTED = "agent.disconnected"
    AGENT_OFFLINE = "agent.offline"
    """It is connected, and has been silent for five heartbeats."""


SCANNED = 2000
"""The most events that one page looks at for those that a filter wants."""
LATEST_SCANS = 5
"""So many pages are looked at, backwards, for the latest events that a filter wants."""
CAUSE_CHARACTERS = 500
_HAS_MORE = call("select {f}.has_more(%s, %s)")
_CURSOR = re.compile(rb"([0-9a-f]{1,32})\.([0-9]{1,18})\.([0-9]{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened; it holds no payload."""

    id: str
    type: str
    at: datetime
    agent_id: str
    command_id: str | None
    action: str | None
    status: str | None
    attempt: int | None
    cause: str | None
    correlation_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in the feed: after this event.  As text it is opaque."""

    life: str
    """It changes when the database is restored."""
    position: int
    number: int

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read a cursor's text; raises InvalidRequest."""
        try:
            decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            decoded = b""
        match = _CURSOR.fullmatch(decoded)
        if match is None:
            raise InvalidRequest("This cursor does not come from the feed.")
        return cls(life=match[1].decode(), position=int(match[2]), number=int(match[3]))

    def __str__(self) -> str:
        text = f"{self.life}.{self.position}.{self.number}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events are wanted; None: any."""

    types: frozenset[str] | None = None
    agent_id: str | None = None
    selector: Selector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Events in their order, and where the next page begins."""

    events: list[Event]
    after: Cursor
    """It also passes the events that the filter did not want."""
    more: bool
    """Whether more events are known after it; the filter may want none of them."""
    places: list[Cursor]
    """The place after each event."""


ANY = EventFilter()


def read(conn: Connection, *, after: Cursor, limit: int, wanted: EventFilter = ANY, scope: Scope = None) -> Page:
    """Read at most `limit` events after a place, of those within `scope`.

    Looks at SCANNED events at most.  Raises EventsGone if events after this place have been deleted, and UnknownFeedCursor for
    a place of another database or of a time that a restore has undone.
    """
    rows = _rows(conn, after, limit, wanted, scope)
    first, life = rows[0], rows[0]["life"]
    known = after.life == life or (first["of_earlier_life"] and not first["after_earlier_life"])
    if not known or first["ahead"]:
        raise UnknownFeedCursor("This cursor does not come from this feed, or the database was restored since.")
    if first["events_gone"]:
        raise EventsGone("Events after this cursor have been deleted, because they are older than the retention time.")
    found = [row for row in rows if row["number"] is not None]
    position, number = after.position, after.number
    if len(found) == limit:
        position, number = found[-1]["position"], found[-1]["number"]
    elif first["scanned"]:
        position, number = first["last_position"], first["last_number"]
    return Page(
        events=[_event(life, row) for row in found],
        after=Cursor(life=life, position=position, number=number),
        more=len(found) == limit or first["scanned"] == _scan(limit, wanted, scope),
        places=[Cursor(life=life, position=row["position"], number=row["number"]) for row in found],
    )


def latest(
    conn: Connection,
    *,
    limit: int,
    wanted: EventFilter = ANY,
    scope: Scope = None,
) -> Page:
    """Read the latest events, at most `limit` of those within `scope`, in their order, and the place after them.

    Looks at the last LATEST_SCANS times SCANNED events at most; only at those of agents where the filter wants no others.
    """
    end = place = newest(conn)
    found: list[dict[str, Any]] = []
    for _ in range(LATEST_SCANS):
        rows = _rows(conn, place, limit - len(found), wanted, scope, backwards=True)
        found = [row for row in rows if row["number"] is not None] + found
        if len(found) == limit or rows[0]["scanned"] < _scan(limit, wanted, scope):
            break
        place = Cursor(life=end.life, position=rows[0]["last_position"], number=rows[0]["last_number"] - 1)
    return Page(
        events=[_event(end.life, row) for row in found],
        after=end,
        more=False,
        places=[Cursor(life=end.life, position=row["position"], number=row["number"]) for row in found],
    )


def of_agent(conn: Connection, agent_id: str, *, before: int | None, limit: int) -> list[Event]:
    """Read the events of an agent itself, newest first, with a number below `before`; not those of its commands."""
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            """
            select f.life, e.number, e.at, 'agent.' || e.type as type, e.agent_id, e.cause,
                null as command_id, null as action, null as status, null as attempt, null as correlation_id
            from agent_events e
            join agents a on a.agent_id = e.agent_id and a.incarnation = e.incarnation
            cross join feed f
            where e.agent_id = %(agent_id)s
              and (%(before)s::bigint is null or e.number < %(before)s)
            order by e.number desc
            limit %(limit)s
            """,
            {"agent_id": agent_id, "before": before, "limit": limit},
        ).fetchall()
    return [_event(row["life"], row) for row in rows]


def number_of(event: Event) -> int:
    """Return the number of an event: events have one count."""
    return int(event.id.rpartition("-")[2])


def newest(conn: Connection) -> Cursor:
    """Return the place after the last event that can be read: what is written from now on comes after it."""
    return _cursor(
        conn,
        """
        select f.life, coalesce(last.position, f.pruned_position), coalesce(last.number, f.pruned_number)
        from feed f
        left join lateral (
            select position, number
            from (
                (
                    select h.position, h.history_id as number
                    from command_history h
                    where h.position < feed_horizon()
                    order by h.position desc, h.history_id desc
                    limit 1
                )
                union all
                (
                    select e.position, e.number
                    from agent_events e
                    where e.position < feed_horizon()
                    order by e.position desc, e.number desc
                    limit 1
                )
            ) as events
            order by position desc, number desc
            limit 1) as last on (last.position, last.number) > (f.pruned_position, f.pruned_number)
        """,
    )


def oldest(conn: Connection) -> Cursor:
    """Return the place before the oldest events that are kept: nothing after it has been deleted."""
    return _cursor(conn, "select life, pruned_position, pruned_number from feed")


def has_more(conn: Connection, after: Cursor) -> bool:
    """Tell whether there are events after a place, whatever they are; cheap."""
    row = conn.execute(_HAS_MORE, (after.position, after.number)).fetchone()
    return row is not None and row[0]


def prune(conn: Connection, retention_days: int, limit: int) -> int:
    """Delete events of agents that are older than `retention_days`; return how many.

    Events of commands are their history, which is deleted with them.
    """
    return conn.execute(
        """
        delete from agent_events
        where (position, number) in (
            select position, number
            from (
                select position, number, at
                from agent_events
                order by position, number
                limit %(limit)s) as oldest
            where at < now() - %(days)s * interval '1 day')
        """,
        {"days": retention_days, "limit": limit},
    ).rowcount


def as_json(event: Event) -> dict[str, Any]:
    """Return an event as consumers get it; what does not apply is left out."""
    members = {
        "id": event.id,
        "type": event.type,
        "at": moment_text(event.at),
        "agentId": event.agent_id,
        "commandId": event.command_id,
        "action": event.action,
        "status": event.status,
        "attempt": event.attempt,
        "cause": event.cause,
        "correlationId": event.correlation_id,
    }
    return {name: value for name, value in members.items() if value is not None}


_SELECTED = """exists (
        select
        from agents a
        where a.agent_id = c.agent_id
          and (c.incarnation is null or c.incarnation = a.incarnation)
          and {condition})"""


def _rows(
    conn: Connection,
    place: Cursor,
    limit: int,
    wanted: EventFilter,
    scope: Scope,
    *,
    backwards: bool = False,
) -> list[dict[str, Any]]:
    types = list(EventType if wanted.types is None else wanted.types)
    parameters: dict[str, Any] = {
        "life": place.life,
        "position": place.position,
        "number": place.number,
        "types": types,
        # Forwards, the place after the page passes them too.
        "of_commands": not backwards or any(each.startswith("command.") for each in types),
        "agent_id": wanted.agent_id,
        "scope": as_parameter(scope),
        "scan": _scan(limit, wanted, scope),
        "limit": limit,
        **(wanted.selector.parameters if wanted.selector else {}),
    }
    selected = "true" if wanted.selector is None else _SELECTED.replace("{condition}", wanted.selector.condition)
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_page(selected, backwards=backwards), parameters).fetchall()


def _scan(limit: int, wanted: EventFilter, scope: Scope) -> int:
    """Return how many events one page looks at: more than it has, where some are not wanted."""
    return limit if wanted == ANY and scope is None else SCANNED


@lru_cache(maxsize=64)
def _page(selected: str, *, backwards: bool) -> bytes:
    beyond, direction, back = ("<=", "desc", "asc") if backwards else (">", "asc", "desc")
    return statement(
        __package__, "page", in_scope=OWNER_IN_SCOPE, selected=selected, beyond=beyond, direction=direction, back=back
    )


def _cursor(conn: Connection, query: Any) -> Cursor:
    row = conn.execute(query).fetchone()
    if row is None:
        raise RuntimeError("the table feed has no row")
    life, position, number = row
    return Cursor(life=life, position=position, number=number)


def _event(life: str, row: dict[str, Any]) -> Event:
    cause: str | None = row["cause"]
    return Event(
        id=f"{life}-{row['number']}",
        type=row["type"],
        at=row["at"],
        agent_id=row["agent_id"],
        command_id=row["command_id"],
        action=row["action"],
        status=row["status"],
        attempt=row["attempt"],
        cause=cause and cause[:CAUSE_CHARACTERS],
        correlation_id=row["correlation_id"],
    )
