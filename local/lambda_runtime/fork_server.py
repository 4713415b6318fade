"""The parent's side of the processes that run functions: fork one, send it an event, kill it, hear that it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from local.lambda_runtime import worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_SCRIPT = Path(worker.__file__)
PRELOADED = ("boto3", "botocore.session", "psycopg", "aws_lambda_powertools", "aws_lambda_powertools.event_handler")


class Owner(Protocol):
    """Who is told what becomes of a worker."""

    def worker_ready(self, worker: Worker) -> None:
        """Hear that the function is loaded and waits for its first event."""

    def worker_answered(self, worker: Worker, payload: bytes, *, failed: bool) -> None:
        """Hear the outcome of the event in hand or, before the worker was ready, why it could not load its function."""

    def worker_ended(self, worker: Worker, reason: str) -> None:
        """Hear that the process is gone and why, in Lambda's words; all that it ever answered was told before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """What a new process is to be."""

    handler: str
    path: Sequence[str]
    environment: Mapping[str, str]
    context: Mapping[str, str]


class Worker(asyncio.Protocol):
    """One execution environment: a process that handles one event at a time."""

    def __init__(self, identity: int, owner: Owner, kill: Callable[[int], None]) -> None:
        self.identity = identity
        self.idle_since = time.monotonic()
        self._owner = owner
        self._kill = kill
        self._transport: asyncio.WriteTransport | None = None
        self._received = bytearray()
        self._reason: str | None = None  # why the process ended, once known
        self._ended = False

    def send(self, request_id: str, deadline: float, event: bytes) -> None:
        """Hand the worker an event; `deadline` is on the monotonic clock."""
        assert self._transport is not None  # noqa: S101 -- for the type checkers: ready implies connected
        size = worker.INVOCATION.size + len(event)
        header = worker.FRAME.pack(worker.EVENT, size) + worker.INVOCATION.pack(request_id.encode(), deadline)
        self._transport.write(header + event)

    def kill(self) -> None:
        """End the process at once, whatever it is doing."""
        self._kill(self.identity)

    def dismiss(self) -> None:
        """Let the process end by itself, once it has handled what it has."""
        if self._transport is not None:
            self._transport.close()

    def process_ended(self, reason: str) -> None:
        """Hear from the nursery that the process is gone."""
        self._reason = reason
        if self._transport is None or self._transport.is_closing():
            self._end(reason)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to the process."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Cut what arrives into frames and tell the owner."""
        self._received += data
        while len(self._received) >= worker.FRAME.size:
            kind, length = worker.FRAME.unpack_from(self._received)
            end = worker.FRAME.size + length
            if len(self._received) < end:
                return
            payload = bytes(self._received[worker.FRAME.size : end])
            del self._received[:end]
            if kind == worker.READY:
                self._owner.worker_ready(self)
            else:
                self._owner.worker_answered(self, payload, failed=kind == worker.FAILURE)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's signature
        """Tell the owner, as soon as it is also known why."""
        if self._reason is not None:
            self._end(self._reason)

    def _end(self, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._owner.worker_ended(self, reason)


class _Lines(asyncio.Protocol):
    """Calls back with each line of a pipe."""

    def __init__(self, line: Callable[[str], None], ended: Callable[[], None]) -> None:
        self._line = line
        self._ended = ended
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line.decode("utf-8", "replace"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._rest:
            self._line(self._rest.decode("utf-8", "replace"))
        self._ended()


class Nursery:
    """A process that forks workers, started when the first one is wanted."""

    def __init__(self, *, environment: Mapping[str, str], layers: Sequence[str], modules: Sequence[str]) -> None:
        self._environment = dict(environment)
        self._options = json.dumps({"layers": list(layers), "modules": list(modules)})
        self._starting = asyncio.Lock()
        self._ready = asyncio.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._workers: dict[int, Worker] = {}
        self._logs = 0
        self._last = 0

    async def fork(self, spec: WorkerSpec, owner: Owner, log: Callable[[str], None]) -> Worker:
        """Fork a worker; `log` gets each line that it prints.  Raises OSError where no process can be had."""
        control = await self._start()
        self._last += 1
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        log_read, log_write = os.pipe()
        with theirs, os.fdopen(log_write, "wb") as log_end:
            new = Worker(self._last, owner, self._kill)
            await loop.create_unix_connection(lambda: new, sock=ours)
            self._logs += 1
            pipe = os.fdopen(log_read, "rb", buffering=0)
            await loop.connect_read_pipe(lambda: _Lines(log, self._log_ended), pipe)
            self._workers[new.identity] = new
            request = {
                "fork": new.identity,
                "handler": spec.handler,
                "path": list(spec.path),
                "environment": dict(spec.environment),
                "context": dict(spec.context),
            }
            try:
                socket.send_fds(control, [json.dumps(request).encode() + b"\n"], [theirs.fileno(), log_end.fileno()])
            except OSError:
                del self._workers[new.identity]
                new.dismiss()
                raise
        return new

    async def close(self, *, patience: float) -> None:
        """Dismiss the workers, kill those still busy after `patience` seconds, end the nursery; logs are read out."""
        for each in list(self._workers.values()):
            each.dismiss()
        await self._until(lambda: not self._workers, patience)
        if self._control is not None:
            self._control.close()  # the nursery ends, and kills what is left
            await self._until(lambda: self._process is None, 1)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        await self._until(lambda: not self._logs, 1)

    @staticmethod
    async def _until(condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:  # noqa: ASYNC110 -- at the end only
            await asyncio.sleep(0.005)

    async def _start(self) -> socket.socket:
        """Start the nursery unless it runs, and wait until it has preloaded: from then on it reads requests at once."""
        async with self._starting:
            if self._control is None:
                self._ready.clear()
                self._control, theirs = socket.socketpair()
                reports, reporting = os.pipe()
                with theirs, os.fdopen(reporting, "wb") as reporting_end:
                    # Not asyncio's: uvloop leaves descriptors of ours open in the child, also the end of the pipe itself.
                    self._process = subprocess.Popen(  # noqa: ASYNC220 -- a few ms, once
                        # -P: what lies beside the script must not hide modules of the same name
                        [sys.executable, "-P", str(_SCRIPT), str(theirs.fileno()), self._options],
                        stdin=subprocess.DEVNULL,
                        stdout=reporting_end,
                        pass_fds=[theirs.fileno()],
                        env=self._environment,
                        start_new_session=True,  # a Ctrl-C in the terminal is the parent's to handle
                    )
                pipe = os.fdopen(reports, "rb", buffering=0)
                lines = _Lines(self._reported, self._ended)
                await asyncio.get_running_loop().connect_read_pipe(lambda: lines, pipe)
            await self._ready.wait()
            return self._connected()

    def _connected(self) -> socket.socket:
        if self._control is None:
            raise ConnectionError("the nursery ended while it started")
        return self._control

    def _reported(self, line: str) -> None:
        report = json.loads(line)
        if "ended" not in report:
            self._ready.set()
            return
        ended = self._workers.pop(report["ended"], None)
        if ended is not None:
            ended.process_ended(_reason(report["status"]))

    def _ended(self) -> None:
        """Take the nursery's end for that of its workers; the next fork starts a new one."""
        if self._process is not None:
            self._process.wait()  # its last descriptor is closed: it is all but gone
            self._process = None
        control, self._control = self._control, None
        if control is not None:
            control.close()
        self._ready.set()
        orphans, self._workers = list(self._workers.values()), {}
        for orphan in orphans:
            orphan.dismiss()
            orphan.process_ended("Runtime exited without providing a reason")

    def _kill(self, identity: int) -> None:
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(json.dumps({"kill": identity}).encode() + b"\n")

    def _log_ended(self) -> None:
        self._logs -= 1


def _reason(status: int) -> str:
    if status == 0:
        return "Runtime exited without providing a reason"
    if status < 0:
        return f"Runtime exited with error: signal: {'killed' if status == -9 else -status}"  # noqa: PLR2004 -- SIGKILL
    return f"Runtime exited with error: exit status {status}"
