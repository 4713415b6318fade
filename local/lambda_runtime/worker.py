"""What runs inside the processes that run functions: the nursery, which forks, and the worker, which handles events.

The nursery has imported what functions import, so that a fork of it answers within milliseconds.  multiprocessing's
forkserver is the same idea, but would import the parent's `__main__` into every worker, and does not apply `sys.path`
before it preloads.

This file is run as a script and imports only the standard library.  The nursery takes lines of JSON on a socket,
`{"fork": id, ...}` with two descriptors or `{"kill": id}`, and reports as lines on its standard output: one when it is
ready, then `{"ended": id, "status": n}` for each worker.  It ends, and kills what it forked, as soon as its parent is
gone.
"""

from __future__ import annotations

import contextlib
import decimal
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import struct
import sys
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FRAME = struct.Struct(">cI")  # what follows, and its length in bytes
READY, ANSWER, FAILURE = b"R", b"A", b"F"  # from a worker
EVENT = b"E"  # to a worker
INVOCATION = struct.Struct(">36sd")  # request id, deadline on the machine's monotonic clock; the event's JSON follows
RESPONSE_LIMIT = 6_291_556  # bytes, as Lambda counts them


@dataclass(slots=True, kw_only=True)
class LambdaContext:
    """What Lambda's Python runtime passes to a handler beside the event."""

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


def run_nursery(control: socket.socket) -> None:
    """Fork a worker for each request until the parent is gone."""
    children: dict[int, int] = {}  # id -> pid
    waker, wakened = os.pipe()
    os.set_blocking(waker, False)
    os.set_blocking(wakened, False)
    signal.signal(signal.SIGCHLD, _heed)
    signal.set_wakeup_fd(wakened, warn_on_full_buffer=False)
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    selector.register(waker, selectors.EVENT_READ)
    received, descriptors = b"", list[int]()
    try:
        _report({"nursery": os.getpid()})
        while True:
            for key, _ in selector.select():
                if key.fileobj is control:
                    data, fds, _, _ = socket.recv_fds(control, 65536, 64)
                    if not data:
                        return
                    received += data
                    descriptors += fds
                else:
                    os.read(waker, 4096)
            *lines, received = received.split(b"\n")
            for line in lines:
                request = json.loads(line)
                if "kill" in request:
                    with contextlib.suppress(KeyError):
                        os.kill(children[request["kill"]], signal.SIGKILL)
                    continue
                channel, log = descriptors.pop(0), descriptors.pop(0)
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    os.close(waker)
                    os.close(wakened)
                    selector.close()
                    control.close()
                    _become_worker(request, socket.socket(fileno=channel), log)
                os.close(channel)
                os.close(log)
                children[request["fork"]] = pid
            _reap(children)
    finally:
        for pid in children.values():
            os.kill(pid, signal.SIGKILL)  # ours and not yet waited for, so that the number is still theirs
            os.waitpid(pid, 0)


def _heed(_number: int, _frame: object) -> None:
    """Have a child's end wake the selector, which a signal without a handler would not."""


def _reap(children: dict[int, int]) -> None:
    for identity, pid in list(children.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            del children[identity]
            _report({"ended": identity, "status": os.waitstatus_to_exitcode(status)})


def _report(message: dict[str, int]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def _become_worker(request: dict[str, Any], channel: socket.socket, log: int) -> NoReturn:
    """Turn the forked process into an execution environment; end it when its channel does."""
    status = 1
    try:
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        os.environ.clear()
        os.environ.update(request["environment"])
        time.tzset()
        sys.path[:0] = request["path"]
        with contextlib.suppress(OSError):  # an absent folder is reported as the module that is not in it
            os.chdir(request["path"][0])
        _handle_events(request, channel)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 -- the last stop: the log says what it was
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(status)


def _handle_events(request: dict[str, Any], channel: socket.socket) -> None:
    try:
        handler = _load(request["handler"])
    except Exception as error:  # noqa: BLE001 -- whatever a module does when it is imported
        traceback.print_exc()
        reason = "Runtime.ImportModuleError" if isinstance(error, ImportError) else f"Runtime.{type(error).__name__}"
        _send(channel, FAILURE, _error(f"Unable to import {request['handler']}: {error}", reason))
        raise SystemExit(1) from None
    _send(channel, READY, b"")
    stream = channel.makefile("rb")
    facts = request["context"]
    while header := stream.read(FRAME.size):
        body = stream.read(FRAME.unpack(header)[1])
        request_id, deadline = INVOCATION.unpack_from(body)
        context = LambdaContext(**facts, aws_request_id=request_id.decode(), deadline=deadline)
        kind, answer = _invoke(handler, body[INVOCATION.size :], context)
        sys.stdout.flush()
        _send(channel, kind, answer)


def _load(path: str) -> Callable[[Any, LambdaContext], object]:
    module, _, name = path.rpartition(".")
    handler: Callable[[Any, LambdaContext], object] = getattr(importlib.import_module(module), name)
    return handler


def _invoke(
    handler: Callable[[Any, LambdaContext], object], event: bytes, context: LambdaContext
) -> tuple[bytes, bytes]:
    try:
        answer = handler(json.loads(event), context)
    except Exception as error:  # noqa: BLE001 -- whatever a handler raises
        print(f"[ERROR] {type(error).__name__}: {error}\n{traceback.format_exc()}", end="", flush=True)  # noqa: T201
        return FAILURE, _error(str(error), type(error).__name__)
    try:
        body = json.dumps(answer, default=_plain).encode()
    except (TypeError, ValueError) as error:
        message = f"Unable to marshal response: {error}"
        print(f"[ERROR] Runtime.MarshalError: {message}", flush=True)  # noqa: T201
        return FAILURE, _error(message, "Runtime.MarshalError")
    if len(body) > RESPONSE_LIMIT:
        message = f"Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT} bytes)."
        return FAILURE, _error(message, "Function.ResponseSizeTooLarge")
    return ANSWER, body


def _plain(value: object) -> float:
    """Do for json what Lambda's runtime does: a Decimal is a number, anything else unknown an error."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _error(message: str, kind: str) -> bytes:
    return json.dumps({"errorMessage": message, "errorType": kind}).encode()


def _send(channel: socket.socket, kind: bytes, body: bytes) -> None:
    channel.sendall(FRAME.pack(kind, len(body)) + body)


def _preload(modules: Iterable[str], layers: Iterable[str]) -> None:
    """Import what functions are going to import; what cannot be imported is the functions' to report."""
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    for layer in layers:
        for package in [module.name for module in pkgutil.iter_modules([layer]) if module.ispkg]:
            with contextlib.suppress(Exception):
                found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
                for module in found:
                    with contextlib.suppress(Exception):
                        importlib.import_module(module.name)


def main() -> None:
    """Be the nursery: arguments are the control socket's descriptor and JSON of what to preload."""
    control = socket.socket(fileno=int(sys.argv[1]))
    options = json.loads(sys.argv[2])
    # Loggers keep the stream that they were made with: one object, made right before anything is imported.
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    sys.path[:0] = options["layers"]
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for reports
        _preload(options["modules"], options["layers"])
    gc.collect()
    gc.freeze()  # keeps the pages of what was imported shared between the forks
    with contextlib.suppress(BrokenPipeError):  # nobody is there to be told of a worker's end
        run_nursery(control)


if __name__ == "__main__":
    main()
