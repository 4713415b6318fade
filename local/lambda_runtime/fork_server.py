"""The parent's side of the processes that run functions: start one, send it an event, kill it, learn why it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import orjson

from local.lambda_runtime import worker as process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

EXIT_ERROR = "Runtime.ExitError"
_LINE_LIMIT = 1024 * 1024  # bytes; a longer line in the log is split


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of an invocation: JSON, which is an error document if the function failed."""

    payload: bytes
    failed: bool

    @classmethod
    def failure(cls, kind: str, message: str) -> Result:
        """Return the outcome of an invocation that failed outside of the function's own code."""
        return cls(payload=json.dumps({"errorMessage": message, "errorType": kind}).encode(), failed=True)

    @property
    def died(self) -> bool:
        """Whether the process ended while it had the event, by a signal or by itself."""
        return self.failed and self.json().get("errorType") == EXIT_ERROR

    def json(self) -> Any:
        """Return the payload, parsed."""
        try:
            return orjson.loads(self.payload)
        except orjson.JSONDecodeError:
            return json.loads(self.payload)  # it accepts NaN, and half of a pair of surrogates, as functions write them

    def object(self) -> dict[str, Any] | None:
        """Return the payload if the function succeeded and returned an object, else None."""
        value = None if self.failed else self.json()
        return cast("dict[str, Any]", value) if isinstance(value, dict) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSpec:
    """What a worker must know about a function: its handler, code, layers, environment, and its part of the context."""

    name: str
    handler: str
    code: str
    environment: Mapping[str, str]
    context: Mapping[str, str]


class Owner(Protocol):
    """What a worker tells the pool."""

    def loaded(self, worker: Worker) -> None:
        """Note that the function of the current event is loaded."""
        ...

    def answered(self, worker: Worker, result: Result) -> None:
        """Take the outcome of the current event."""
        ...

    def lost(self, worker: Worker) -> None:
        """Note that the process has closed its channel."""
        ...

    def ended(self, worker: Worker, reason: str) -> None:
        """Note that the process has ended, with the reason in Lambda's words."""
        ...


class Worker(asyncio.Protocol):
    """One process, which handles one event at a time."""

    def __init__(self, owner: Owner, end_process: Callable[[], None]) -> None:
        self._owner = owner
        self._end_process = end_process
        self._transport: asyncio.WriteTransport | None = None
        self._received = bytearray()
        self.has_ended = False

    def send(self, function: int, timeout: float, request_id: str, event: bytes) -> None:
        """Have a function handle an event; `timeout` is in seconds."""
        assert self._transport is not None  # noqa: S101 -- the fork server connects a worker before it returns it
        header = process.REQUEST.pack(len(event), function, timeout, request_id.encode())
        self._transport.write(header + event)

    def kill(self) -> None:
        """End the process at once."""
        self._end_process()
        self.dismiss()

    def dismiss(self) -> None:
        """Let the process end by itself after its current event."""
        if self._transport is not None:
            self._transport.close()

    def process_ended(self, status: int) -> None:
        """Take the exit status from the fork server: negative for a signal, 0 also if it is not known."""
        self.has_ended = True
        self.dismiss()
        self._owner.ended(self, _reason(status))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer."""
        head = process.ANSWER_HEAD
        received = self._received
        received += data
        while len(received) >= head.size:
            length, kind = head.unpack_from(received)
            end = head.size + length
            if len(received) < end:
                return
            payload = bytes(received[head.size : end])
            del received[:end]
            if kind == process.LOADED:
                self._owner.loaded(self)
            else:
                self._owner.answered(self, Result(payload=payload, failed=kind == process.FAILURE))

    def connection_lost(self, exc: Exception | None) -> None:
        """End a process that has closed its channel; the fork server reports the reason."""
        del exc
        if not self.has_ended:
            self._owner.lost(self)
            self._end_process()


class ForkServer:
    """A process that forks workers; it is started for the first worker, and again if it has ended."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        layers: Sequence[str],
        modules: Sequence[str],
        functions: Sequence[FunctionSpec],
    ) -> None:
        self._environment = dict(environment)
        self._options = json.dumps({"layers": list(layers), "modules": list(modules)})
        # Not an argument of the process, because the variables contain secrets.
        self._functions = json.dumps(
            {
                "functions": [
                    {
                        "name": each.name,
                        "handler": each.handler,
                        "code": each.code,
                        "environment": dict(each.environment),
                        "context": dict(each.context),
                    }
                    for each in functions
                ]
            }
        )
        self._starting = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._workers: dict[int, Worker] = {}
        self._open_logs: set[_Lines] = set()
        self._last = 0

    async def fork(self, owner: Owner, log: Callable[[str, str], None]) -> Worker:
        """Fork a worker; `log` gets each line that it prints, with the function.  Raises OSError if that is impossible."""
        async with self._starting:
            control = self._control or await self._start()
        self._last += 1
        identity = self._last
        token = secrets.token_hex(8)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            read, write = os.pipe()
            with os.fdopen(write, "wb") as log_end:
                await self._read(read, _WorkerLog(token, log))
                request = json.dumps({"fork": identity, "token": token}).encode() + b"\n"
                new = Worker(owner, lambda: self._ask({"kill": identity}))
                await asyncio.get_running_loop().create_unix_connection(
                    lambda: new, sock=socket.socket(fileno=ours.detach())
                )
                try:
                    socket.send_fds(control, [request], [theirs.fileno(), log_end.fileno()])
                except OSError:
                    new.dismiss()
                    raise
        self._workers[identity] = new
        return new

    async def close(self, *, patience: float) -> None:
        """Dismiss the workers, kill those still busy after `patience` seconds, end the server; logs are read to the end."""
        for each in list(self._workers.values()):
            each.dismiss()
        deadline = time.monotonic() + patience
        while self._workers and time.monotonic() < deadline:  # noqa: ASYNC110 -- at the end only
            await asyncio.sleep(0.005)
        if self._control is not None:
            self._control.close()  # the server ends, and kills what is left
        deadline = time.monotonic() + 1
        while self._open_logs and time.monotonic() < deadline:  # noqa: ASYNC110 -- at the end only
            await asyncio.sleep(0.005)

    async def _start(self) -> socket.socket:
        """Start the server and wait until it has preloaded: from then on it reads requests at once."""
        control, theirs = socket.socketpair()
        read, report_end = os.pipe()
        with theirs, os.fdopen(report_end, "wb") as reports:
            # Not asyncio's: with uvloop the child inherits open descriptors of this process, also the end of the pipe itself.
            started = subprocess.Popen(  # noqa: ASYNC220 -- a few ms, once
                # -P: files beside the script must not hide modules of the same name
                [sys.executable, "-P", str(Path(process.__file__)), str(theirs.fileno()), self._options],
                stdin=subprocess.DEVNULL,
                stdout=reports,
                pass_fds=[theirs.fileno()],
                env=self._environment,
                start_new_session=True,  # only the parent handles a Ctrl-C in the terminal
            )
        ready = asyncio.get_running_loop().create_future()

        def report(line: bytes) -> None:
            if ready.done():
                self._reported(line)
            else:
                ready.set_result(True)

        def end() -> None:
            if not ready.done():
                ready.set_result(False)
            elif self._process is started:
                self._ended()

        await self._read(read, _Lines(report, end))
        if not await ready:
            control.close()
            started.wait()
            raise ConnectionError("the fork server ended while it started")
        control.sendall(self._functions.encode() + b"\n")
        self._process, self._control = started, control
        return control

    async def _read(self, descriptor: int, lines: _Lines) -> None:
        """Read lines from a pipe until its other end is closed."""
        self._open_logs.add(lines)
        lines.at_end = lambda: self._open_logs.discard(lines)
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        await asyncio.get_running_loop().connect_read_pipe(lambda: lines, pipe)

    def _ask(self, request: dict[str, int]) -> None:
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(json.dumps(request).encode() + b"\n")

    def _reported(self, line: bytes) -> None:
        report = json.loads(line)
        ended = self._workers.pop(report["ended"], None)
        if ended is not None:
            ended.process_ended(report["status"])

    def _ended(self) -> None:
        """Treat the workers as ended when the server ends; the next fork starts a new server."""
        if self._process is not None:
            self._process.wait()  # its last descriptor is closed: it is about to end
        if self._control is not None:
            self._control.close()
        self._process = self._control = None
        orphans, self._workers = self._workers, {}
        for orphan in orphans.values():
            orphan.process_ended(0)


class _Lines(asyncio.Protocol):
    """Splits what comes through a pipe into lines."""

    def __init__(self, each: Callable[[bytes], None], end: Callable[[], None] = lambda: None) -> None:
        self._each = each
        self._end = end
        self._rest = b""
        self.at_end: Callable[[], object] = lambda: None

    def data_received(self, data: bytes) -> None:
        """Take a part of the text."""
        *lines, rest = (self._rest + data).split(b"\n")
        if len(rest) > _LINE_LIMIT:
            lines.append(rest)
            rest = b""
        self._rest = rest
        for line in lines:
            self._each(line)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the last line, which may have no end."""
        del exc
        if self._rest:
            self._each(self._rest)
        self._end()
        self.at_end()


class _WorkerLog(_Lines):
    """A worker's log: each line belongs to the function that was named last."""

    def __init__(self, token: str, log: Callable[[str, str], None]) -> None:
        super().__init__(self._line)
        self._mark = b"\0" + token.encode()
        self._log = log
        self._function = ""

    def _line(self, line: bytes) -> None:
        # The mark of the next function stands in the same line if the last line of the one before has no end.
        text, marked, function = line.partition(self._mark)
        if text or not marked:
            self._log(self._function, text.decode("utf-8", "replace"))
        if marked:
            self._function = function.decode()


def _reason(status: int) -> str:
    if status == 0:
        return "Runtime exited without providing a reason"
    if status < 0:
        return f"Runtime exited with error: signal: {'killed' if status == -9 else -status}"  # noqa: PLR2004 -- SIGKILL
    return f"Runtime exited with error: exit status {status}"
