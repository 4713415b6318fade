"""The code inside the processes that run functions: the fork server, and the workers that it forks.

The fork server has imported what functions import, so a worker starts within milliseconds and shares memory with the
others.  multiprocessing's forkserver would import the caller's `__main__` into every worker and start with the caller's
own variables.

This file is run as a script and imports only the standard library and orjson.  On a socket it takes lines of JSON:
`{"functions": [...]}` once, then `{"fork": id, "token": text}` with two file descriptors, or `{"kill": id}`.  On standard
output it reports lines of JSON: one when it is ready, then `{"ended": id, "status": n}` for each worker.  It ends, and
kills what it forked, as soon as its parent is gone.

A worker serves every function, one event at a time: it loads a function's module for the first event, and gives each
function its own environment variables and working directory.  What functions share is what the layer keeps: the
database connection, clients of AWS.  A function must not change os.environ.  An event is a REQUEST header and JSON; its
answer is an ANSWER header and JSON, after LOADED if the function had to be loaded first.  In the log a line of NUL, the
token and a function's name says whose lines follow; a function that prints nothing is not named.
"""

from __future__ import annotations

import contextlib
import decimal
import gc
import importlib
import io
import json
import os
import pkgutil
import signal
import socket
import struct
import sys
import time
import traceback
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NoReturn

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

REQUEST = struct.Struct("<IHf36s")
"""The length of the event, the index of the function, its timeout in seconds, the request's id."""
ANSWER_HEAD = struct.Struct("<IB")
"""The length of the answer, and its kind."""
LOADED, ANSWER, FAILURE = 0, 1, 2
_BUFFER = 65536  # bytes of an event that are read at once
RESPONSE_LIMIT = 6_291_556  # bytes, as Lambda counts them


@dataclass(slots=True, kw_only=True)
class LambdaContext:
    """The context object that Lambda's Python runtime passes to a handler."""

    function_name: str
    memory_limit_in_mb: str
    invoked_function_arn: str
    log_group_name: str
    log_stream_name: str
    aws_request_id: str
    deadline: float
    function_version: str = "$LATEST"
    identity: None = None
    client_context: None = None

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the process is killed, never less than 0."""
        return max(0, int((self.deadline - time.monotonic()) * 1000))


def serve(control: socket.socket) -> None:
    """Fork a worker for each request until the parent is gone, then kill all of them and this process."""
    children: dict[int, int] = {}  # process id -> id

    def reap(_number: int, _frame: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                _report({"ended": children.pop(ended[0]), "status": os.waitstatus_to_exitcode(ended[1])})

    signal.signal(signal.SIGCHLD, reap)
    _report({"ready": os.getpid()})
    received, descriptors = b"", list[int]()
    functions = list[dict[str, Any]]()
    while True:
        data, sent, _, _ = socket.recv_fds(control, 65536, 64)
        if not data:
            os.killpg(0, signal.SIGKILL)
        descriptors += sent
        *lines, received = (received + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            functions = request.get("functions", functions)
            # So no child is reported before it is known, and the id of a child that is about to be killed is not reused.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
            if "fork" in request:
                channel, log = descriptors.pop(0), descriptors.pop(0)
                pid = os.fork()
                if pid == 0:
                    control.close()
                    _become_worker(functions, socket.socket(fileno=channel), log, request["token"])
                os.close(channel)
                os.close(log)
                children[pid] = request["fork"]
            for pid in [pid for pid, identity in children.items() if identity == request.get("kill")]:
                os.kill(pid, signal.SIGKILL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def _report(message: dict[str, int]) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(message).encode() + b"\n")


def _become_worker(functions: Sequence[Mapping[str, Any]], channel: socket.socket, log: int, token: str) -> NoReturn:
    """Turn the forked process into a worker; end it when its channel is closed."""
    status = 1
    try:
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        _Worker(functions, channel, token.encode()).run()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 -- the last stop: the log says what it was
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(status)


class _Log(io.FileIO):
    """Standard output or standard error: names the function before the first of its lines."""

    name_next = b""

    def write(self, data: Any, /) -> int:
        """Write bytes, after the line that names the function."""
        if _Log.name_next:
            line, _Log.name_next = _Log.name_next, b""
            super().write(line)
        return super().write(data)


class _Worker:
    """Handles the events of all functions, one after another."""

    def __init__(self, functions: Sequence[Mapping[str, Any]], channel: socket.socket, token: bytes) -> None:
        self._functions = functions
        self._channel = channel
        self._token = token
        self._handlers: dict[int, Callable[[Any, LambdaContext], object]] = {}
        self._current = -1
        self._changes: dict[tuple[int, int], dict[str, str | None]] = {}

    def run(self) -> None:
        """Handle events until the channel is closed."""
        os.environ.clear()
        sys.path.insert(0, "")
        for index, timeout, request_id, event in _requests(self._channel):
            self._switch(index)
            handler = self._handlers.get(index) or self._load(index)
            if handler is not None:
                context = LambdaContext(
                    **self._functions[index]["context"],
                    aws_request_id=request_id.decode(),
                    deadline=time.monotonic() + timeout,
                )
                self._answer(*_invoke(handler, event, context))

    def _answer(self, kind: int, payload: bytes = b"") -> None:
        sys.stdout.flush()
        self._channel.sendall(ANSWER_HEAD.pack(len(payload), kind) + payload)

    def _switch(self, index: int) -> None:
        """Give the process the environment variables and the working directory of a function."""
        before = self._current
        if before == index:
            return
        wanted = self._functions[index]
        _Log.name_next = b"\0%b%b\n" % (self._token, wanted["name"].encode())
        changes = self._changes.get((before, index))
        if changes is None:
            present = self._functions[before]["environment"] if before >= 0 else {}
            changes = _changes(present, wanted["environment"])
            self._changes[before, index] = changes
        for name, value in changes.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if "TZ" in changes:
            time.tzset()
        with contextlib.suppress(OSError):  # a missing folder is reported as the module that is not in it
            os.chdir(wanted["code"])
        sys.path[0] = wanted["code"]
        self._current = index

    def _load(self, index: int) -> Callable[[Any, LambdaContext], object] | None:
        """Import a function's module and return its handler; answer with the reason if that fails."""
        function = self._functions[index]
        try:
            handler = _handler(function)
        except Exception as error:  # noqa: BLE001 -- a module may raise any exception when it is imported
            traceback.print_exc()
            kind = "Runtime.ImportModuleError" if isinstance(error, ImportError) else f"Runtime.{type(error).__name__}"
            self._answer(FAILURE, _error(f"Unable to import {function['handler']}: {error}", kind))
            return None
        gc.freeze()  # the garbage collector does not look at what stays
        self._handlers[index] = handler
        self._answer(LOADED)
        return handler


def _requests(channel: socket.socket) -> Iterator[tuple[int, float, bytes, bytes]]:
    """Yield each event with its function's index, the timeout and the request's id."""
    buffer = bytearray(_BUFFER)
    view = memoryview(buffer)
    while received := channel.recv_into(buffer):
        while received < REQUEST.size:
            more = channel.recv_into(view[received:])
            if not more:
                return
            received += more
        length, index, timeout, request_id = REQUEST.unpack_from(buffer)
        event = bytes(view[REQUEST.size : min(received, REQUEST.size + length)])
        if (missing := length - len(event)) > 0:
            event += _exactly(channel, missing)
        yield index, timeout, request_id, event


def _exactly(channel: socket.socket, count: int) -> bytes:
    rest = bytearray(count)
    view = memoryview(rest)
    done = 0
    while done < count:
        received = channel.recv_into(view[done:])
        if not received:
            raise SystemExit
        done += received
    return bytes(rest)


def _changes(present: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str | None]:
    """Return the variables that differ, with their new values; None for those that are removed."""
    removed: dict[str, str | None] = dict.fromkeys(present.keys() - wanted.keys())
    return removed | {name: value for name, value in wanted.items() if present.get(name) != value}


def _handler(function: Mapping[str, Any]) -> Callable[[Any, LambdaContext], object]:
    """Import a function's module under the function's own name, because all of them are called `app`."""
    module, _, name = function["handler"].rpartition(".")
    code: str = function["code"]
    file = f"{code}/{module.replace('.', '/')}.py"
    spec = spec_from_file_location(f"{function['name']}_{module}", file)
    if spec is None or spec.loader is None or not os.path.isfile(file):  # noqa: PTH113 -- pathlib would be a slow import
        raise ModuleNotFoundError(f"No module named {module!r}")
    loaded = module_from_spec(spec)
    sys.modules[spec.name] = loaded
    try:
        spec.loader.exec_module(loaded)
        handler: Callable[[Any, LambdaContext], object] = getattr(loaded, name)
    except BaseException:
        del sys.modules[spec.name]
        raise
    finally:
        # Another function may have files of the same names.  Only what came later is looked at: each name that is looked at
        # costs a page of memory, which this process shares with the others until then.
        for beside in list(takewhile(lambda name: name != spec.name, reversed(sys.modules))):
            if str(getattr(sys.modules[beside], "__file__", None) or "").startswith(code + os.sep):
                del sys.modules[beside]
    return handler


def _invoke(handler: Callable[[Any, LambdaContext], object], event: bytes, context: LambdaContext) -> tuple[int, bytes]:
    try:
        answer = handler(_decoded(event), context)
    except Exception as error:  # noqa: BLE001 -- a handler may raise any exception
        print(f"[ERROR] {type(error).__name__}: {error}\n{traceback.format_exc()}", end="", flush=True)  # noqa: T201
        return FAILURE, _error(str(error), type(error).__name__)
    try:
        body = _encode(answer).encode()
    except (TypeError, ValueError) as error:
        message = f"Unable to marshal response: {error}"
        print(f"[ERROR] Runtime.MarshalError: {message}", flush=True)  # noqa: T201
        return FAILURE, _error(message, "Runtime.MarshalError")
    if len(body) > RESPONSE_LIMIT:
        message = f"Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT} bytes)."
        return FAILURE, _error(message, "Function.ResponseSizeTooLarge")
    return ANSWER, body


def _decoded(event: bytes) -> Any:
    try:
        return orjson.loads(event)
    except orjson.JSONDecodeError:
        return json.loads(event)  # it accepts NaN, and half of a pair of surrogates, as Lambda does


def _plain(value: object) -> float:
    """Encode unknown types as Lambda's runtime does: a Decimal becomes a number, all others are errors."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


_encode = json.JSONEncoder(default=_plain).encode


def _error(message: str, kind: str) -> bytes:
    return json.dumps({"errorMessage": message, "errorType": kind}).encode()


def _preload(modules: Iterable[str], layers: Iterable[str]) -> None:
    """Import modules, and all of the layers; the functions themselves report import errors."""
    names = list(modules)
    for layer in layers:
        packages = [module.name for module in pkgutil.iter_modules([layer]) if module.ispkg]
        names += packages
        for package in packages:
            names += [
                found.name
                for found in pkgutil.walk_packages([f"{layer}/{package}"], f"{package}.", onerror=lambda _name: None)
            ]
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def _log(descriptor: int) -> io.TextIOWrapper:
    raw = io.BufferedWriter(_Log(descriptor, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def main() -> None:
    """Run as the fork server.

    The arguments are the control socket's descriptor, and a JSON object: the folders `layers`, and the `modules` to preload.
    """
    control = socket.socket(fileno=int(sys.argv[1]))
    options = json.loads(sys.argv[2])
    # Loggers keep the stream that they were made with: one object, made right before anything is imported.
    sys.stdout, sys.stderr = _log(1), _log(2)
    sys.path[:0] = options["layers"]
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for reports
        _preload(options["modules"], options["layers"])
    gc.collect()
    gc.freeze()  # keeps the memory pages of imported modules shared between the forks
    serve(control)


if __name__ == "__main__":
    main()
