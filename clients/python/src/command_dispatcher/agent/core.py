"""The whole agent without I/O: messages, ends of handlers and the time go in; writes, texts and effects come out."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .link import Close, Failure, Link, Open
from .messages import (
    PONG,
    CancelRequest,
    Delivery,
    Ignored,
    Ping,
    Received,
    Welcome,
    decode,
    encode_facts,
    encode_heartbeat,
    encode_reports,
    encode_resume,
)
from .records import Catalogue, Clock, Start, Stop
from .work import Work
from .writes import Outcome, StoredCommand, Write

STOP_SECONDS = 5.0
"""How long handlers have to stop at the end of the agent, after the time for finishing."""
RESUME_SECONDS = 2.0
"""How long the agent says nothing more until the service has received what it says first."""
GOODBYE_SECONDS = 3.0
"""How long the agent waits at its end for the confirmation of its last reports."""

Effect = Open | Close | Start | Stop


class Core:
    """One agent.  Its owner calls it for each event, commits `take_writes`, then executes `take_effects`."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        clock: Clock,
        window: int,
        facts: Mapping[str, Any] | None = None,
        longest_pause: float | None = None,
    ) -> None:
        self.work = Work(catalogue, window, clock)
        self.link = Link(clock.monotonic, longest_pause)
        self.ignored: deque[str] = deque(maxlen=10)
        """Why the last messages were ignored."""
        self._clock = clock
        self._facts = facts
        self._notices: deque[str] = deque()
        self._messages = 0
        self._moved = False
        self._unnamed = False  # the connection is open, and the agent has not decided what it names first
        self._unsaid = False  # it has decided, and has not said it
        self._resume_id: str | None = None
        self._resume_until = 0.0
        self._drain_until: float | None = None
        self._goodbye_until: float | None = None
        # Message ids of an earlier process must not confirm what this one says.
        self._name = f"{random.getrandbits(32):08x}"

    def start(self, stored: Iterable[StoredCommand]) -> None:
        """Take over the state file, and connect."""
        self.work.load(stored)
        self.link.start()

    # ── Events ─────────────────────────────────────────────────────────────────────────────────────────────────

    def opened(self, connection: int) -> None:
        """Take a new connection."""
        moved = self.link.moving
        self.link.opened(connection)
        if self.link.current != connection:
            return
        self._moved, self._unnamed, self._unsaid, self._resume_id = moved, True, False, None
        self._begin_connection()

    def _begin_connection(self) -> None:
        """Name first what this agent owns: after a move, as soon as the older connection has brought everything."""
        if not self._unnamed or self.link.older is not None:
            return
        self._unnamed, self._unsaid = False, True
        self._notices.clear()
        self.work.connect(moved=self._moved)
        if self._facts is not None and not self._moved:
            self._notices.append(encode_facts(self._facts))
        self.work.schedule()

    def open_failed(self, failure: Failure) -> None:
        """Take note that an attempt to connect failed."""
        self.link.failed(failure)

    def closed(self, connection: int) -> None:
        """Take note that a connection has ended."""
        if self.link.closed(connection):
            self._notices.clear()
            self._unnamed, self._unsaid, self._resume_id = False, False, None
            self.work.disconnect()
        self._begin_connection()

    def message(self, connection: int, text: str | bytes) -> None:
        """Take a message of the service."""
        for part in decode(text):
            match part:
                case Delivery():
                    self.work.receive(part)
                case CancelRequest():
                    self.work.cancel(part)
                case Received() if part.message_id == self._resume_id:
                    self._resume_id = None
                case Received():
                    self.work.received(part.message_id)
                case Welcome():
                    self.link.welcomed(connection, part)
                case Ping():
                    self._notices.append(PONG)
                case Ignored():
                    self.ignored.append(part.why)
        self._move()

    def ended(self, command_id: str, outcome: Outcome) -> None:
        """Take the outcome of a handler."""
        self.work.ended(command_id, outcome)

    def progress(self, command_id: str, body: str) -> None:
        """Take progress of a handler."""
        self.work.progress(command_id, body)

    def tick(self) -> None:
        """Do what is due."""
        self.work.tick()
        if self.link.heartbeat_due():
            self._notices.append(encode_heartbeat(self.work.running(), self.work.window))
            self.link.said()
        now = self._clock.monotonic()
        if now >= self._resume_until:
            self._resume_id = None  # this service does not confirm it
        if self._drain_until is not None and now >= self._drain_until:
            self.work.stop_all()
        self._say_goodbye()
        self._move()

    def _move(self) -> None:
        self.link.tick(is_quiet=self.work.is_quiet())
        self._begin_connection()

    def drain(self, seconds: float) -> None:
        """Finish what runs within a time, say its results, then end; called again, it can only shorten the time."""
        until = self._clock.monotonic() + seconds
        self._drain_until = until if self._drain_until is None else min(until, self._drain_until)
        self.work.drain()
        self.link.leaving = True
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        """Wait from now on only for the confirmation of the last reports, if nothing runs any more."""
        now = self._clock.monotonic()
        if self._drain_until is None or self._goodbye_until is not None:
            return
        if not self.work.running() or now >= self._drain_until + STOP_SECONDS:
            self._goodbye_until = now + GOODBYE_SECONDS

    @property
    def is_finished(self) -> bool:
        """Whether the drain is over: everything has ended and was confirmed, or its time has passed."""
        if self._goodbye_until is None:
            return False
        says_first = self._unnamed or self._unsaid or self._resume_id is not None
        has_said_all = self.link.current is None or not (says_first or self._notices or not self.work.is_quiet())
        return has_said_all or self._clock.monotonic() >= self._goodbye_until

    # ── What the owner commits, executes and sends ─────────────────────────────────────────────────────────────

    def take_writes(self) -> Sequence[Write]:
        """Return what is to be committed; then call `stored` or `not_stored` with it."""
        writes, self.work.writes = self.work.writes, []
        return writes

    def stored(self, writes: Sequence[Write]) -> None:
        """Go on after a commit."""
        self.work.stored(writes)
        if self.work.trouble is None:
            self.link.resume()
        self._say_goodbye()
        self._move()

    def not_stored(self, writes: Sequence[Write], reason: str) -> None:
        """Go back after a failed commit, and leave the service: nothing may be acknowledged that is not stored."""
        self.work.not_stored(writes, reason)
        if not self.link.suspended:
            self.link.suspend()

    def take_effects(self) -> Sequence[Effect]:
        """Return what is to be done, in this order."""
        effects: list[Effect] = [*self.work.effects, *self.link.effects]
        self.work.effects, self.link.effects = [], []
        return effects

    def next_message(self, connection: int) -> str | None:
        """Return the next text to send over a connection; None: nothing now."""
        if connection != self.link.current or self._unnamed or self._resume_id is not None:
            return None  # the service settles several messages at a time: what comes first is to be received first
        if self._unsaid:
            self._unsaid, self._resume_id = False, self._next_id()
            self._resume_until = self._clock.monotonic() + RESUME_SECONDS
            return encode_resume(self.work.owned(), self._resume_id)
        if self._notices:
            return self._notices.popleft()
        reports = self.work.next_reports()
        if not reports:
            return None
        message_id = self._next_id()
        named = any(report.kind != "progress" for report in reports)
        text, count = encode_reports(reports, message_id if named else None)
        self.work.say(reports[:count], message_id)
        return text

    def _next_id(self) -> str:
        self._messages += 1
        return f"{self._name}-{self._messages}"

    def next_due(self) -> float | None:
        """Return when `tick` is due, as seconds of the clock; None: not before another event."""
        due = [self.work.next_due(), self.link.next_due(), None if self._resume_id is None else self._resume_until]
        if self._drain_until is not None:
            ends = (self._drain_until, self._drain_until + STOP_SECONDS, self._goodbye_until)
            due += [each for each in ends if each is not None and each > self._clock.monotonic()]
        return min((each for each in due if each is not None), default=None)


class SystemClock:
    """The clock of the machine."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic

    def now(self) -> datetime:
        """Return the moment."""
        return datetime.now(UTC)
