"""The processes of one function: which of them gets which event, and when there shall be one more."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.lambda_runtime.fork_server import Nursery, Worker, WorkerSpec
    from local.sam_template.deployment import Function

_INIT_SECONDS = 10.0  # what Lambda grants a function to load, before its timeout counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of an invocation: JSON, which is an error document if the function failed."""

    payload: bytes
    failed: bool

    def json(self) -> Any:
        """Return the payload, parsed."""
        return json.loads(self.payload)

    def object(self) -> dict[str, Any] | None:
        """Return the payload if the function succeeded and returned an object, else None."""
        value = None if self.failed else self.json()
        return cast("dict[str, Any]", value) if isinstance(value, dict) else None


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One event on its way through a function."""

    event: bytes
    request_id: str
    outcome: asyncio.Future[Result]
    timer: asyncio.TimerHandle | None = None


class Pool:
    """The processes of one function, and the events that wait for one."""

    def __init__(
        self, function: Function, spec: WorkerSpec, *, nursery: Nursery, most: int, log: Callable[[str], None]
    ) -> None:
        self.function = function
        self._spec = spec
        self._nursery = nursery
        self._most = most
        self._log = log
        self._idle: list[
            Worker
        ] = []  # the last one used is the first one to be used again, so that others can be reaped
        self._calls: dict[Worker, Call] = {}
        self._waiting: deque[Call] = deque()
        self._loading: dict[Worker, asyncio.TimerHandle] = {}
        self._forks: set[asyncio.Task[None]] = set()
        self._loaded = asyncio.Event()  # set by each worker that has loaded the function, or could not

    @property
    def busy(self) -> bool:
        """Tell whether an event is being handled or waits."""
        return bool(self._calls or self._waiting)

    def submit(self, call: Call) -> None:
        """Give the call to an idle worker, or let it wait for the first one that is free or new."""
        if self._idle:
            self._begin(self._idle.pop(), call)
            return
        self._waiting.append(call)
        self._grow()

    async def warm(self) -> None:
        """Start a worker if there is none, and wait for it."""
        if self._idle or self._calls:
            return
        if not (self._forks or self._loading):
            self._loaded.clear()
            self._fork()
        await self._loaded.wait()

    def reap(self, *, idle_since_before: float) -> None:
        """End the workers that have had nothing to do for too long."""
        for worker in [worker for worker in self._idle if worker.idle_since < idle_since_before]:
            self._idle.remove(worker)
            worker.dismiss()

    async def close(self) -> None:
        """Stop forking; fail what still waits or runs."""
        for task in self._forks:
            task.cancel()
        await asyncio.gather(*self._forks, return_exceptions=True)
        for timer in self._loading.values():
            timer.cancel()
        while self._waiting:
            _settle(self._waiting.popleft(), closed())
        for worker in self._calls:
            worker.kill()

    def worker_ready(self, worker: Worker) -> None:
        """Put a new worker to use."""
        self._has_loaded(worker)
        self._next(worker)

    def worker_answered(self, worker: Worker, payload: bytes, *, failed: bool) -> None:
        """Settle the call in hand and go on; a worker that answers before it was ready could not load its function."""
        call = self._calls.pop(worker, None)
        if call is not None:
            _settle(call, Result(payload=payload, failed=failed))
            self._next(worker)
        elif self._has_loaded(worker):
            self._fail_first(Result(payload=payload, failed=True))

    def worker_ended(self, worker: Worker, reason: str) -> None:
        """Forget a worker, and fail the call that it had."""
        if worker in self._idle:
            self._idle.remove(worker)
        call = self._calls.pop(worker, None)
        if call is not None:
            self._fail(call, "Runtime.ExitError", reason)
        elif self._has_loaded(worker):  # it died of loading, and could not say so
            self._fail_first(_failure("Runtime.ExitError", reason))
        self._grow()

    def _has_loaded(self, worker: Worker) -> bool:
        """Take a worker off the list of those that load their function; return whether it was on it."""
        timer = self._loading.pop(worker, None)
        if timer is not None:
            timer.cancel()
            self._loaded.set()
        return timer is not None

    def _grow(self) -> None:
        while self._waiting and self._waiting[0].outcome.done():
            self._waiting.popleft()
        coming = len(self._forks) + len(self._loading)
        room = self._most - coming - len(self._idle) - len(self._calls)
        for _ in range(min(len(self._waiting) - coming, room)):
            self._fork()

    def _fork(self) -> None:
        task = asyncio.create_task(self._fork_one())
        self._forks.add(task)
        task.add_done_callback(self._forks.discard)

    async def _fork_one(self) -> None:
        try:
            worker = await self._nursery.fork(self._spec, self, self._log)
        except OSError as error:
            self._log(f"Error: no process for {self.function.name}: {error}")
            self._loaded.set()
            self._fail_first(_failure("Runtime.ExitError", f"No process could be started: {error}"))
            return
        patience = _INIT_SECONDS + self.function.timeout
        self._loading[worker] = asyncio.get_running_loop().call_later(patience, worker.kill)

    def _next(self, worker: Worker) -> None:
        while self._waiting:
            call = self._waiting.popleft()
            if not call.outcome.done():  # else its caller has gone
                self._begin(worker, call)
                return
        worker.idle_since = time.monotonic()
        self._idle.append(worker)

    def _begin(self, worker: Worker, call: Call) -> None:
        self._calls[worker] = call
        seconds = self.function.timeout
        call.timer = asyncio.get_running_loop().call_later(seconds, self._time_out, worker, call)
        worker.send(call.request_id, time.monotonic() + seconds, call.event)

    def _time_out(self, worker: Worker, call: Call) -> None:
        del self._calls[worker]
        worker.kill()
        self._fail(call, "Sandbox.Timedout", f"Task timed out after {self.function.timeout:.2f} seconds")
        self._grow()

    def _fail(self, call: Call, kind: str, reason: str) -> None:
        message = f"RequestId: {call.request_id} Error: {reason}"
        self._log(message)
        _settle(call, _failure(kind, message))

    def _fail_first(self, result: Result) -> None:
        while self._waiting:
            call = self._waiting.popleft()
            if not call.outcome.done():
                _settle(call, result)
                return


def _settle(call: Call, result: Result) -> None:
    if call.timer is not None:
        call.timer.cancel()
    if not call.outcome.done():
        call.outcome.set_result(result)


def closed() -> Result:
    """Return the outcome of an event that comes too late."""
    return _failure("Runtime.Closed", "The runtime is closed")


def _failure(kind: str, message: str) -> Result:
    return Result(payload=json.dumps({"errorMessage": message, "errorType": kind}).encode(), failed=True)
