"""The parent's side of the processes that run functions: start one, send it an event, kill it, learn why it ended."""

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
from typing import IO, TYPE_CHECKING, Any, cast

from local.lambda_runtime import worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PRELOADED = ("boto3", "botocore.session", "psycopg", "aws_lambda_powertools", "aws_lambda_powertools.event_handler")
_LINE_LIMIT = 64 * 1024 * 1024  # bytes, of an answer or of a line in the log


class ExitedError(Exception):
    """The process has ended; the text gives the reason in Lambda's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of an invocation: JSON, which is an error document if the function failed."""

    payload: bytes
    failed: bool

    @classmethod
    def failure(cls, kind: str, message: str) -> Result:
        """Return the outcome of an invocation that failed outside of the function's own code."""
        return cls(payload=json.dumps({"errorMessage": message, "errorType": kind}).encode(), failed=True)

    def json(self) -> Any:
        """Return the payload, parsed."""
        return json.loads(self.payload)

    def object(self) -> dict[str, Any] | None:
        """Return the payload if the function succeeded and returned an object, else None."""
        value = None if self.failed else self.json()
        return cast("dict[str, Any]", value) if isinstance(value, dict) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """The description of a new process: its handler, import path, environment variables, and its part of the context."""

    handler: str
    path: Sequence[str]
    environment: Mapping[str, str]
    context: Mapping[str, str]


@dataclass(slots=True, kw_only=True, eq=False)
class Worker:
    """One execution environment: a process that handles one event at a time."""

    identity: int
    ended: asyncio.Future[int]
    """The exit status, negative for a signal; 0 also if it is not known."""
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    end_process: Callable[[], None]
    idle_since: float = 0.0

    async def handle(self, request_id: str, deadline: float, event: bytes) -> Result:
        """Have the function handle an event; `deadline` is on the monotonic clock.  Raises ExitedError."""
        with contextlib.suppress(OSError):  # it has ended: answer() raises the reason
            self.writer.write(f"{request_id} {deadline} ".encode() + event + b"\n")
            await self.writer.drain()
        return await self.answer()

    async def answer(self) -> Result:
        """Wait for the next answer; the first one says whether the function is loaded.  Raises ExitedError."""
        line = b""
        with contextlib.suppress(OSError):
            line = await self.reader.readline()
        if not line.endswith(b"\n"):
            self.kill()
            raise ExitedError(_reason(await self.ended))
        return Result(payload=line[1:-1], failed=line[:1] == worker.FAILURE)

    def kill(self) -> None:
        """End the process at once."""
        self.end_process()
        self.writer.close()

    def dismiss(self) -> None:
        """Let the process end by itself after its current event."""
        self.writer.close()


class ForkServer:
    """A process that forks workers; it is started for the first worker, and again if it has ended."""

    def __init__(self, *, environment: Mapping[str, str], layers: Sequence[str], modules: Sequence[str]) -> None:
        self._environment = dict(environment)
        self._options = json.dumps({"layers": list(layers), "modules": list(modules)})
        self._starting = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._workers: dict[int, Worker] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # read the logs and the server's reports
        self._last = 0

    async def fork(self, spec: WorkerSpec, log: Callable[[str], None]) -> Worker:
        """Fork a worker; `log` gets each line that it prints.  Raises OSError if no process can be created."""
        async with self._starting:
            control = self._control or await self._start()
        self._last += 1
        identity = self._last
        ours, theirs = socket.socketpair()
        logs, log_end = _pipe()
        with theirs, log_end:
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_LINE_LIMIT)
            self._read_lines(*await _reader(logs), log)
            new = Worker(
                identity=identity,
                ended=asyncio.get_running_loop().create_future(),
                reader=reader,
                writer=writer,
                end_process=lambda: self._ask({"kill": identity}),
            )
            request = {
                "fork": identity,
                "handler": spec.handler,
                "path": list(spec.path),
                "environment": dict(spec.environment),
                "context": dict(spec.context),
            }
            try:
                socket.send_fds(control, [json.dumps(request).encode() + b"\n"], [theirs.fileno(), log_end.fileno()])
            except OSError:
                writer.close()
                raise
        self._workers[identity] = new
        return new

    async def close(self, *, patience: float) -> None:
        """Dismiss the workers, kill those still busy after `patience` seconds, end the server; logs are read to the end."""
        for each in self._workers.values():
            each.dismiss()
        deadline = time.monotonic() + patience
        while self._workers and time.monotonic() < deadline:  # noqa: ASYNC110 -- at the end only
            await asyncio.sleep(0.005)
        if self._control is not None:
            self._control.close()  # the server ends, and kills what is left
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)

    async def _start(self) -> socket.socket:
        """Start the server and wait until it has preloaded: from then on it reads requests at once."""
        control, theirs = socket.socketpair()
        reports, report_end = _pipe()
        with theirs, report_end:
            # Not asyncio's: with uvloop the child inherits open descriptors of this process, also the end of the pipe itself.
            process = subprocess.Popen(  # noqa: ASYNC220 -- a few ms, once
                # -P: files beside the script must not hide modules of the same name
                [sys.executable, "-P", str(Path(worker.__file__)), str(theirs.fileno()), self._options],
                stdin=subprocess.DEVNULL,
                stdout=report_end,
                pass_fds=[theirs.fileno()],
                env=self._environment,
                start_new_session=True,  # only the parent handles a Ctrl-C in the terminal
            )
        lines, transport = await _reader(reports)
        if not await lines.readline():
            transport.close()
            control.close()
            process.wait()
            raise ConnectionError("the fork server ended while it started")
        self._process, self._control = process, control
        self._read_lines(lines, transport, self._reported, self._ended)
        return control

    def _read_lines(
        self,
        lines: asyncio.StreamReader,
        transport: asyncio.BaseTransport,
        each: Callable[[str], None],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        async def read() -> None:
            async for line in lines:
                each(line.decode("utf-8", "replace").removesuffix("\n"))
            transport.close()
            ended()

        task = asyncio.create_task(read())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ask(self, request: dict[str, int]) -> None:
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(json.dumps(request).encode() + b"\n")

    def _reported(self, line: str) -> None:
        report = json.loads(line)
        ended = self._workers.pop(report["ended"], None)
        if ended is not None:
            ended.ended.set_result(report["status"])

    def _ended(self) -> None:
        """Treat the workers as ended when the server ends; the next fork starts a new server."""
        if self._process is not None:
            self._process.wait()  # its last descriptor is closed: it is about to end
        if self._control is not None:
            self._control.close()
        self._process = self._control = None
        orphans, self._workers = self._workers, {}
        for orphan in orphans.values():
            orphan.dismiss()
            orphan.ended.set_result(0)


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    """Return the ends of a new pipe: for reading, for writing."""
    read, write = os.pipe()
    return os.fdopen(read, "rb", buffering=0), os.fdopen(write, "wb")


async def _reader(pipe: IO[bytes]) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    """Return a reader of a pipe, and the function that closes it."""
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
    return reader, transport


def _reason(status: int) -> str:
    if status == 0:
        return "Runtime exited without providing a reason"
    if status < 0:
        return f"Runtime exited with error: signal: {'killed' if status == -9 else -status}"  # noqa: PLR2004 -- SIGKILL
    return f"Runtime exited with error: exit status {status}"
