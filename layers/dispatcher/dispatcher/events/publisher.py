"""Put the events of the change feed on an EventBridge bus: at least once, and in order for each agent."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dispatcher.errors import EventsGone, UnknownFeedCursor
from dispatcher.events import feed
from dispatcher.events.feed import Cursor, Event, Page
from dispatcher.events.sinks import LEASE_SECONDS, Sink
from dispatcher.platform.database import Connection
from dispatcher.platform.event_bus import BATCH, CONNECT_SECONDS, READ_SECONDS, Bus, Entry
from dispatcher.platform.observability import logger

SINK = "eventbridge"
SOURCE = "agent-command-dispatcher"
PAGE = 100
"""Events between two records of how far it has come: after a kill, at most so many are put again."""
PAUSES = (0.1, 0.4, 1.6)
"""Seconds before each further try; after the last one the next run goes on."""
RESERVE_SECONDS = CONNECT_SECONDS + READ_SECONDS + 3
"""With less time left no call is begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What one run did.  The names are those of the metrics: never change one."""

    events_published: int = 0
    events_refused: int = 0
    """Entries that the bus did not take at a try."""
    event_gaps: int = 0
    """How often events had been deleted before they were put on the bus."""


def publish(conn: Connection, bus: Bus, *, deadline: Callable[[], float]) -> Published:
    """Put events on the bus until none is left or the time is up; nothing if another worker does so."""
    sink = Sink.take(conn, SINK)
    done = Published()
    if sink is None:
        return done
    error: str | None = None
    more = True
    holds: Sink | None = sink
    while holds is not None and more and error is None and deadline() > RESERVE_SECONDS:
        page, gap = _next(conn, holds.after)
        sent = _send(bus, page.events, _sooner(deadline, LEASE_SECONDS / 2))
        error = sent.error
        done = Published(
            events_published=done.events_published + sent.taken,
            events_refused=done.events_refused + sent.refused,
            event_gaps=done.event_gaps + gap,
        )
        more = page.more and sent.complete
        after = page.after if sent.complete else (holds.after, *page.places)[sent.prefix]
        holds = holds.advance(conn, after)
    sink.release(conn, error)
    if error is not None:
        logger.error("Events not published", extra={"reason": error})
    return done


def _next(conn: Connection, after: Cursor) -> tuple[Page, int]:
    """Return the next page, and 1 if events before it have been deleted, otherwise 0."""
    try:
        return feed.read(conn, after=after, limit=PAGE), 0
    except (EventsGone, UnknownFeedCursor):
        logger.error("Events were deleted before they were published")
        return feed.read(conn, after=feed.oldest(conn), limit=PAGE), 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    prefix: int
    """How many of the first events were taken without a gap."""
    complete: bool
    taken: int
    refused: int
    error: str | None


def _send(bus: Bus, events: Sequence[Event], deadline: Callable[[], float]) -> _Sent:
    """Put events on the bus, the first ones of BATCH agents at a time: an event follows the agent's one before it."""
    left = list(range(len(events)))
    refused = tries = 0
    error: str | None = None
    while left and tries <= len(PAUSES) and deadline() > RESERVE_SECONDS:
        batch = _first_of_each_agent(events, left)
        answers = bus.put([_entry(events[place]) for place in batch])
        taken = {place for place, reason in zip(batch, answers, strict=True) if reason is None}
        left = [place for place in left if place not in taken]
        error = next((reason for reason in answers if reason is not None), None)
        refused += len(batch) - len(taken)
        tries = 0 if taken else tries + 1
        if error is not None and tries <= len(PAUSES):
            time.sleep(PAUSES[max(tries - 1, 0)])
    return _Sent(
        prefix=left[0] if left else len(events),
        complete=not left,
        taken=len(events) - len(left),
        refused=refused,
        error=error if left else None,
    )


def _first_of_each_agent(events: Sequence[Event], left: Sequence[int]) -> list[int]:
    firsts: dict[str, int] = {}
    for place in left:
        if len(firsts) == BATCH:
            break
        firsts.setdefault(events[place].agent_id, place)
    return list(firsts.values())


def _entry(event: Event) -> Entry:
    return Entry(source=SOURCE, detail_type=event.type, detail=feed.as_json(event), time=event.at.timestamp())


def _sooner(deadline: Callable[[], float], seconds: float) -> Callable[[], float]:
    """Return a deadline that comes after so many seconds at the latest."""
    end = time.monotonic() + seconds
    return lambda: min(deadline(), end - time.monotonic())
