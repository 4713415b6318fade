"""When the agent connects, moves to a new connection, says that it lives, and leaves; without I/O."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from .messages import Welcome

LONGEST_PAUSE = 32.0
"""Attempts follow each other after up to 1, 2, 4 … this many seconds, unless the service asks for more."""
REFUSED_SECONDS = 30.0
"""The least time between two attempts after a 401 or 403, and while an operator has not approved the agent."""
STABLE_SECONDS = 60.0
"""A connection that lasted this long starts the pauses anew."""
SILENCE_MOST = 540.0
"""The longest time between two messages: the gateway cuts a connection after 600 s without one."""
DEFAULT_WELCOME = Welcome(heartbeat=30.0, move_after=6300.0)
MOVE_GRACE_SECONDS = 300.0
"""How long a move to a new connection waits for a moment without unacknowledged commands."""
ASKED_GRACE_SECONDS = 10.0
"""The same for a move that somebody asked for."""
OVERLAP_SECONDS = 1.0
"""How long an older connection is still read after a new one is open; the service closes it before that."""


class Failure(Enum):
    """Why a connection could not be opened."""

    UNREACHABLE = auto()
    REFUSED = auto()
    PENDING = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Register and connect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Close a connection."""

    connection: int


@dataclass(slots=True)
class Link:
    """The connections of one agent: at most one is used, and during a move an older one is still read."""

    monotonic: Callable[[], float]
    longest_pause: float | None = None
    """A bound for all pauses, in seconds; None: what the protocol and the service say."""
    effects: list[Open | Close] = field(default_factory=list[Open | Close])
    current: int | None = None
    older: int | None = None
    suspended: bool = False
    """Whether the agent must not be connected."""
    moving: bool = False
    """Whether the connection that is being opened replaces one, which may end before."""
    leaving: bool = False
    """Whether the agent opens no more connections, because it ends."""
    welcome: Welcome = DEFAULT_WELCOME
    _welcomed: bool = False
    _opening: bool = False
    _open_at: float | None = None
    _opened_at: float = 0.0
    _heartbeat_at: float = 0.0
    _move_at: float = 0.0
    _grace: float = 0.0
    _asked: bool = False  # somebody asked for a move, and it has not begun
    _older_until: float = 0.0
    _failures: int = 0
    _spread: float = 0.0

    @property
    def is_opening(self) -> bool:
        """Whether a connection is being opened."""
        return self._opening

    def start(self) -> None:
        """Connect at once: the process has just started."""
        self._open_at = self.monotonic()
        self.tick(is_quiet=True)

    def opened(self, connection: int) -> None:
        """Use a new connection; an older one is only read from now on."""
        now = self.monotonic()
        self._opening, self.moving, self._open_at, self._opened_at = False, False, None, now
        if self.suspended:
            self.effects.append(Close(connection=connection))
            return
        if self.current is not None:
            if self.older is not None:
                self.effects.append(Close(connection=self.older))
            self.older, self._older_until = self.current, now + OVERLAP_SECONDS
        self.current = connection
        self._take_rhythm(self.welcome)

    def welcomed(self, connection: int, welcome: Welcome) -> None:
        """Take what the service expects of a connection."""
        if connection == self.current:
            self.welcome, self._welcomed = welcome, True
            self._take_rhythm(welcome)

    def _take_rhythm(self, welcome: Welcome) -> None:
        now = self.monotonic()
        self._heartbeat_at = now + self._heartbeat()
        if not self._asked:
            self._move_at = now + welcome.move_after * random.uniform(0.95, 1.0)  # noqa: S311 - spreads the agents
            self._grace = min(MOVE_GRACE_SECONDS, welcome.move_after / 10)

    def _heartbeat(self) -> float:
        return min(self.welcome.heartbeat, SILENCE_MOST)

    def failed(self, failure: Failure) -> None:
        """Take note that an attempt to connect failed."""
        self._opening = self.moving = False
        if failure is Failure.UNREACHABLE:
            pause = self._pause()
        else:
            pause = self._bounded(REFUSED_SECONDS) + self._random(REFUSED_SECONDS / 3)
        self._open_at = self.monotonic() + pause

    def closed(self, connection: int) -> bool:
        """Take note that a connection has ended; return whether it was the one in use."""
        if connection == self.older:
            self.older = None
        if connection != self.current:
            return False
        now = self.monotonic()
        lived = now - self._opened_at
        self.current = None
        if lived >= STABLE_SECONDS:
            self._failures = 0
        # Many agents may have lost their connections at the same moment.  One that was just opened was already spread.
        self._spread = self.welcome.reconnect_spread if lived >= self.welcome.reconnect_spread else 0.0
        if not self._opening and not self.suspended:
            self._open_at = now + self._pause()
        return True

    def _pause(self) -> float:
        bound = max(self._spread, min(2.0**self._failures, max(self.welcome.reconnect_spread, LONGEST_PAUSE)))
        self._failures = min(self._failures + 1, 30)
        return (self._bounded(self.welcome.reconnect_min) if self._welcomed else 0.0) + self._random(bound)

    def _bounded(self, seconds: float) -> float:
        return seconds if self.longest_pause is None else min(seconds, self.longest_pause)

    def _random(self, bound: float) -> float:
        return random.uniform(0, self._bounded(bound))  # noqa: S311 - spreads the agents

    def suspend(self) -> None:
        """Leave the service, until `resume`."""
        self.suspended = True
        self._open_at = None
        for connection in (self.current, self.older):
            if connection is not None:
                self.effects.append(Close(connection=connection))

    def resume(self) -> None:
        """Connect again."""
        if self.suspended:
            self.suspended = False
            self._open_at = self.monotonic()

    def move(self) -> None:
        """Open a new connection in the next seconds, and keep the one in use until it is open."""
        self._asked, self._move_at, self._grace = True, self.monotonic(), ASKED_GRACE_SECONDS

    def said(self) -> None:
        """Take note that a heartbeat was sent."""
        self._heartbeat_at = self.monotonic() + self._heartbeat()

    def heartbeat_due(self) -> bool:
        """Tell whether it is time for a heartbeat."""
        return self.current is not None and self.monotonic() >= self._heartbeat_at

    def tick(self, *, is_quiet: bool) -> None:
        """Do what is due; `is_quiet`: nothing is unacknowledged or unconfirmed."""
        now = self.monotonic()
        if self.older is not None and now >= self._older_until:
            self.effects.append(Close(connection=self.older))
            self.older = None
        if self._opening or self.suspended or self.leaving:
            return
        moves = self.current is not None and now >= self._move_at and (is_quiet or now >= self._move_at + self._grace)
        if self._open_at is None and moves:
            self._open_at = now
        if self._open_at is not None and now >= self._open_at:
            self._opening, self.moving, self._open_at, self._asked = True, self.current is not None, None, False
            self.effects.append(Open())

    def next_due(self) -> float | None:
        """Return when `tick` or the heartbeat has something to do."""
        opens = not (self._opening or self.suspended or self.leaving)
        due = [self._open_at] if self._open_at is not None and opens else []
        if self.current is not None:
            due.append(self._heartbeat_at)
            if self._open_at is None and opens:
                # Later only the grace ends: a quiet moment before it comes with an event of its own.
                due.append(self._move_at if self.monotonic() < self._move_at else self._move_at + self._grace)
        if self.older is not None:
            due.append(self._older_until)
        return min(due, default=None)
