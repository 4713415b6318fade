"""The processes of one function: each handles one event at a time, and there are more on demand."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from local.lambda_runtime.fork_server import ExitedError, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.lambda_runtime.fork_server import ForkServer, Worker, WorkerSpec
    from local.sam_template.resources import Function

_INIT_SECONDS = 10.0  # the time that Lambda gives a function to load, before its timeout counts


class Pool:
    """The execution environments of one function, at most `limit` of them; further events wait."""

    def __init__(
        self, function: Function, spec: WorkerSpec, *, server: ForkServer, limit: int, log: Callable[[str], None]
    ) -> None:
        self.function = function
        self._spec = spec
        self._server = server
        self._log = log
        self._room = asyncio.Semaphore(limit)
        self._idle: list[Worker] = []  # the last used one is reused first, so that idle ones can end

    async def run(self, event: bytes, request_id: str) -> Result:
        """Run the function on an event; if the task is cancelled the process is killed."""
        async with self._room:
            worker = self._idle_worker() or await self._start()
            if isinstance(worker, Result):
                return worker
            seconds = self.function.timeout
            try:
                async with asyncio.timeout(seconds):
                    result = await worker.handle(request_id, time.monotonic() + seconds, event)
            except TimeoutError:
                worker.kill()
                await worker.ended
                return self._failed(request_id, "Sandbox.Timedout", f"Task timed out after {seconds:.2f} seconds")
            except ExitedError as error:
                return self._failed(request_id, "Runtime.ExitError", str(error))
            except asyncio.CancelledError:
                worker.kill()
                raise
            worker.idle_since = time.monotonic()
            self._idle.append(worker)
            return result

    def end_idle(self, idle_since_before: float = math.inf) -> None:
        """End the processes that have been idle since then."""
        for worker in [worker for worker in self._idle if worker.idle_since < idle_since_before]:
            self._idle.remove(worker)
            worker.dismiss()

    def _idle_worker(self) -> Worker | None:
        while self._idle:
            worker = self._idle.pop()
            if not worker.ended.done():
                return worker
            worker.dismiss()
        return None

    async def _start(self) -> Worker | Result:
        """Start a process and load the function; return why that failed, if it did."""
        try:
            worker = await self._server.fork(self._spec, self._log)
        except OSError as error:
            self._log(f"Error: no process for {self.function.name}: {error}")
            return Result.failure("Runtime.ExitError", f"No process could be started: {error}")
        try:
            async with asyncio.timeout(_INIT_SECONDS + self.function.timeout):
                loaded = await worker.answer()
        except ExitedError as error:
            return Result.failure("Runtime.ExitError", str(error))
        except TimeoutError:
            worker.kill()
            return Result.failure("Sandbox.Timedout", f"{self.function.name} was not loaded in time")
        except asyncio.CancelledError:
            worker.kill()
            raise
        if loaded.failed:
            worker.dismiss()
            return loaded
        return worker

    def _failed(self, request_id: str, kind: str, reason: str) -> Result:
        message = f"RequestId: {request_id} Error: {reason}"
        self._log(message)
        return Result.failure(kind, message)
