"""The processes that run the functions: all functions share them, each handles one event at a time.

A process serves any function, so a few of them suffice: `kept` stay while there are events.  One that is busy for longer
than a moment, while the machine's processors are not, waits for something (a flush for its connection, a sweep for the
database) and does not count: another one is forked instead, up to `limit`; beyond that events wait.  While the processors
are busy, more processes would only compete for them, so that only what is busy for seconds does not count.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import TYPE_CHECKING

import psutil

from local.lambda_runtime.fork_server import EXIT_ERROR, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.lambda_runtime.fork_server import ForkServer, Worker
    from local.sam_template.resources import Function

CLOSED = Result.failure("Runtime.Closed", "The runtime is closed")
WAITED_TOO_LONG = Result.failure("Runtime.Waited", "The caller does not wait any longer; the function runs on")

_INIT_SECONDS = 10.0  # the time that Lambda gives a function to load, before its timeout counts
_TICK_SECONDS = 0.05  # between two looks at what is busy
_SLOW_SECONDS = 0.1  # a process that is busy for longer waits for something, if the processors are idle
_IDLE_SHARE = 0.15  # the processors are idle if they do nothing for more than this share of the time
_SLOW_SECONDS_UNDER_LOAD = 2.0  # the same limit while they are busy
_OLD_SECONDS = 0.5  # after which a background event no longer lets all others pass
_RESERVED = 2  # processes that are not for background events
_PAUSE_SECONDS = 1.0  # before the next try, if no process could be started
_SPARE_SECONDS = 5.0  # that a process beyond the kept ones stays without an event
_KEPT_SECONDS = 20.0  # that a kept process stays without an event; each takes 40 MB, with its part of PostgreSQL
_LASTING = 2  # processes that stay for `idle_seconds`


class Call:
    """One event for a function, and who gets the outcome; `patience` is in seconds, from when a process has the event."""

    __slots__ = ("background", "began", "done", "event", "function", "index", "patience", "request_id")

    def __init__(
        self,
        function: Function,
        index: int,
        event: bytes,
        request_id: str,
        done: Callable[[Result], None],
        *,
        background: bool = False,
        patience: float = math.inf,
    ) -> None:
        self.function = function
        self.index = index
        self.event = event
        self.request_id = request_id
        self.done = done
        self.background = background
        self.patience = patience
        self.began = 0.0


class _Place:
    """A process in the pool: its current event, what it has loaded, since when it is idle, why it was killed."""

    __slots__ = ("call", "idle_since", "killed_for", "loaded", "worker")

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.call: Call | None = None
        self.loaded: set[int] = set()
        self.idle_since = time.monotonic()
        self.killed_for: str | None = None


class Processors:
    """How busy the machine's processors are."""

    def __init__(self) -> None:
        self._looked = 0.0
        self._idle = self._total = 0.0
        self._share = 1.0

    def idle_share(self) -> float:
        """Return which part of the time they were idle, since the last look but one tick at least."""
        now = time.monotonic()
        if now - self._looked >= _TICK_SECONDS:
            times = psutil.cpu_times()
            idle, total = times.idle + getattr(times, "iowait", 0.0), sum(times)
            if now - self._looked < 10 * _TICK_SECONDS and total > self._total:
                self._share = (idle - self._idle) / (total - self._total)
            self._looked, self._idle, self._total = now, idle, total
        return self._share


class Pool:
    """At most `limit` processes, of which a quarter is not for background events; further events wait in order."""

    def __init__(
        self, server: ForkServer, *, limit: int, kept: int, idle_seconds: float, log: Callable[[str, str], None]
    ) -> None:
        self._server = server
        self._limit = limit
        self._kept = min(kept, limit)
        self._background_limit = limit - limit // 4
        self._idle_seconds = idle_seconds
        self._log = log
        self._places: dict[Worker, _Place] = {}
        self._idle: list[_Place] = []  # the last used one is at the end, and is reused first, so that others can end
        self._waiting: deque[Call] = deque()
        self._background: deque[Call] = deque()
        self._busy_in_background = 0
        self._was_background = False
        self._starting: set[asyncio.Task[None]] = set()
        self._fork_after = 0.0
        self._processors = Processors()
        self._ticking: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self, call: Call) -> None:
        """Have an event handled as soon as a process is free; `call.done` gets the outcome, once."""
        if self._closed:
            call.done(CLOSED)
        elif self._idle and self._may_start(call):
            self._hand(self._choose(call.index), call)
        else:
            call.began = time.monotonic()
            (self._background if call.background else self._waiting).append(call)
            if len(self._places) + len(self._starting) < self._kept:  # else at the next tick
                self._grow()
        self._tick_later()

    def end_idle(self) -> None:
        """End the processes that have no event."""
        for place in list(self._idle):
            self._dismiss(place)

    async def close(self, *, patience: float) -> None:
        """Give running events `patience` seconds, then kill their processes; waiting events fail."""
        self._closed = True
        for call in (*self._waiting, *self._background):
            call.done(CLOSED)
        self._waiting.clear()
        self._background.clear()
        deadline = time.monotonic() + patience
        while self._busy() and time.monotonic() < deadline:  # noqa: ASYNC110 -- at the end only
            await asyncio.sleep(0.005)
        if self._ticking is not None:
            self._ticking.cancel()
        for task in self._starting:
            task.cancel()
        for place in self._busy():
            place.worker.kill()
            self._finish(place, CLOSED)
        for place in self._places.values():
            place.worker.dismiss()

    # ── What workers tell ─────────────────────────────────────────────────────────────────────────────────────────────

    def loaded(self, worker: Worker) -> None:
        """Let the timeout of the current event count from now."""
        place = self._places.get(worker)
        if place is not None and place.call is not None:
            place.loaded.add(place.call.index)
            place.call.began = time.monotonic()

    def answered(self, worker: Worker, result: Result) -> None:
        """Give the outcome to the caller, and the process to the next event."""
        place = self._places.get(worker)
        if place is not None and place.killed_for is None:  # else it comes too late
            self._finish(place, result)

    def lost(self, worker: Worker) -> None:
        """Give no event to a process that has closed its channel and is about to end."""
        place = self._places.get(worker)
        if place in self._idle:
            self._idle.remove(place)

    def ended(self, worker: Worker, reason: str) -> None:
        """Fail the event of a process that has ended, and no other."""
        place = self._places.pop(worker, None)
        if place is None:
            return
        if place in self._idle:
            self._idle.remove(place)
        call = place.call
        if call is not None:
            kind = "Sandbox.Timedout" if place.killed_for else EXIT_ERROR
            message = f"RequestId: {call.request_id} Error: {place.killed_for or reason}"
            self._log(call.function.name, message)
            self._finish(place, Result.failure(kind, message))
        self._grow()

    # ── Events ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _may_start(self, call: Call) -> bool:
        """Tell whether an event may have a process: background ones leave some, so that no message waits for a fork."""
        room = max(1, min(self._background_limit, len(self._places) - _RESERVED))
        return not call.background or self._busy_in_background < room

    def _next(self) -> Call | None:
        """Return the next event: one that somebody waits for, or each other time a background one that is old."""
        background = self._background and self._may_start(self._background[0])
        is_old = background and time.monotonic() - self._background[0].began > _OLD_SECONDS
        if background and (not self._waiting or (is_old and not self._was_background)):
            self._was_background = True
            return self._background.popleft()
        self._was_background = False
        return self._waiting.popleft() if self._waiting else None

    def _choose(self, index: int) -> _Place:
        """Return the idle process that was used last, preferably one that has loaded the function."""
        for position in range(len(self._idle) - 1, -1, -1):
            if index in self._idle[position].loaded:
                return self._idle.pop(position)
        return self._idle.pop()

    def _hand(self, place: _Place, call: Call) -> None:
        place.call = call
        call.began = time.monotonic()
        self._busy_in_background += call.background
        place.worker.send(call.index, call.function.timeout, call.request_id, call.event)

    def _finish(self, place: _Place, result: Result) -> None:
        """Free a process from its event, hand it the next one, then tell the caller."""
        call = place.call
        if call is None:
            return
        place.call = None
        self._busy_in_background -= call.background
        if place.worker in self._places:
            following = self._next()
            if following is not None:
                self._hand(place, following)
            else:
                place.idle_since = time.monotonic()
                self._idle.append(place)
        call.done(result)

    # ── Processes ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _busy(self) -> list[_Place]:
        return [place for place in self._places.values() if place.call is not None]

    def _grow(self) -> None:
        """Fork a process for each event that waits, as long as not too many of them compete for the processor."""
        wanted = len(self._waiting) + min(len(self._background), self._background_limit - self._busy_in_background)
        now = time.monotonic()
        if wanted <= len(self._starting) or self._closed or now < self._fork_after:
            return
        limit = _SLOW_SECONDS if self._processors.idle_share() > _IDLE_SHARE else _SLOW_SECONDS_UNDER_LOAD
        slow = sum(now - place.call.began > limit for place in self._busy() if place.call)
        present = len(self._places) + len(self._starting)
        room = min(self._kept + slow, self._limit) - present
        for _ in range(min(wanted - len(self._starting), room)):
            task = asyncio.get_running_loop().create_task(self._fork())
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _fork(self) -> None:
        try:
            worker = await self._server.fork(self, self._log)
        except OSError as error:
            self._could_not_fork(error)
            return
        place = _Place(worker)
        self._places[worker] = place
        following = self._next()
        if following is not None:
            self._hand(place, following)
        else:
            self._idle.append(place)
        self._tick_later()

    def _could_not_fork(self, error: OSError) -> None:
        """Let events wait for the processes that there are, and fail them if there is none."""
        self._fork_after = time.monotonic() + _PAUSE_SECONDS
        message = f"No process could be started: {error}"
        self._log("", f"Error: {message}")
        while not self._places and (call := self._next()) is not None:
            call.done(Result.failure(EXIT_ERROR, message))

    def _tick_later(self) -> None:
        if self._ticking is None and not self._closed:
            at_work = self._waiting or self._background or len(self._idle) < len(self._places)
            seconds = _TICK_SECONDS if at_work else min(1.0, self._idle_seconds / 4)
            self._ticking = asyncio.get_running_loop().call_later(seconds, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        now = time.monotonic()
        for place in self._busy():
            self._check(place, now)
        self._grow()
        self._end_idle(now)
        if self._places or self._waiting or self._background:
            self._tick_later()

    def _check(self, place: _Place, now: float) -> None:
        """Kill a process whose event takes too long, and tell a caller who waits no longer."""
        call = place.call
        if call is None or place.killed_for:
            return
        took, seconds = now - call.began, call.function.timeout
        has_loaded = call.index in place.loaded
        if took > seconds + (0 if has_loaded else _INIT_SECONDS):
            timed_out = f"Task timed out after {seconds:.2f} seconds"
            place.killed_for = timed_out if has_loaded else "The function was not loaded in time"
            place.worker.kill()
        elif took > call.patience:
            done, call.done, call.patience = call.done, _ignored, math.inf
            done(WAITED_TOO_LONG)

    def _end_idle(self, now: float) -> None:
        """End processes that have been idle for long; the more there are, the sooner."""
        while self._idle:
            present, limit = len(self._places), self._idle_seconds
            if present > _LASTING:
                limit = min(limit, _SPARE_SECONDS if present > self._kept else _KEPT_SECONDS)
            if now - self._idle[0].idle_since < limit:
                return
            self._dismiss(self._idle[0])

    def _dismiss(self, place: _Place) -> None:
        self._idle.remove(place)
        del self._places[place.worker]
        place.worker.dismiss()


def _ignored(_result: Result) -> None:
    """Take an outcome that nobody waits for."""
