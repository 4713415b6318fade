"""The code inside the processes that run functions: the fork server, and the execution environments that it forks.

The fork server has imported what functions import, so an environment starts within milliseconds and shares memory with
the others.  Measured with the 15 functions of template.yaml: 7 ms and 130 MB in all; as plain processes 360 ms and
570 MB.  multiprocessing's forkserver would import the caller's `__main__` into every environment and start with the
caller's own variables.

This file is run as a script and imports only the standard library.  On a socket it takes lines of JSON:
`{"fork": id, ...}` with two file descriptors, or `{"kill": id}`.  On standard output it reports lines of JSON: one
when it is ready, then `{"ended": id, "status": n}` for each environment.  It ends, and kills what it forked, as soon as
its parent is gone.

An environment takes one line for each event, `request-id deadline event`, and answers with one line: READY once, when
the function is loaded, then ANSWER or FAILURE, each followed by JSON.
"""

from __future__ import annotations

import contextlib
import decimal
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

READY, ANSWER, FAILURE = b"R", b"A", b"F"
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
    """Fork an environment for each request until the parent is gone, then kill all of them and this process."""
    children: dict[int, int] = {}  # process id -> id

    def reap(_number: int, _frame: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                _report({"ended": children.pop(ended[0]), "status": os.waitstatus_to_exitcode(ended[1])})

    signal.signal(signal.SIGCHLD, reap)
    _report({"ready": os.getpid()})
    received, descriptors = b"", list[int]()
    while True:
        data, sent, _, _ = socket.recv_fds(control, 65536, 64)
        if not data:
            os.killpg(0, signal.SIGKILL)
        descriptors += sent
        *lines, received = (received + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            # So no child is reported before it is known, and the id of a child that is about to be killed is not reused.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
            if "fork" in request:
                channel, log = descriptors.pop(0), descriptors.pop(0)
                pid = os.fork()
                if pid == 0:
                    control.close()
                    _become_worker(request, socket.socket(fileno=channel), log)
                os.close(channel)
                os.close(log)
                children[pid] = request["fork"]
            for pid in [pid for pid, identity in children.items() if identity == request.get("kill")]:
                os.kill(pid, signal.SIGKILL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def _report(message: dict[str, int]) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(message).encode() + b"\n")


def _become_worker(request: dict[str, Any], channel: socket.socket, log: int) -> NoReturn:
    """Turn the forked process into an execution environment; end it when its channel is closed."""
    status = 1
    try:
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        os.environ.clear()
        os.environ.update(request["environment"])
        time.tzset()
        sys.path[:0] = request["path"]
        with contextlib.suppress(OSError):  # a missing folder is reported as the module that is not in it
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
        module, _, name = request["handler"].rpartition(".")
        handler = getattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001 -- a module may raise any exception when it is imported
        traceback.print_exc()
        reason = "Runtime.ImportModuleError" if isinstance(error, ImportError) else f"Runtime.{type(error).__name__}"
        channel.sendall(FAILURE + _error(f"Unable to import {request['handler']}: {error}", reason) + b"\n")
        raise SystemExit(1) from None
    channel.sendall(READY + b"\n")
    for line in channel.makefile("rb"):
        request_id, deadline, event = line.split(b" ", 2)
        context = LambdaContext(**request["context"], aws_request_id=request_id.decode(), deadline=float(deadline))
        kind, answer = _invoke(handler, event, context)
        sys.stdout.flush()
        channel.sendall(kind + answer + b"\n")


def _invoke(
    handler: Callable[[Any, LambdaContext], object], event: bytes, context: LambdaContext
) -> tuple[bytes, bytes]:
    try:
        answer = handler(json.loads(event), context)
    except Exception as error:  # noqa: BLE001 -- a handler may raise any exception
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
    """Encode unknown types as Lambda's runtime does: a Decimal becomes a number, all others are errors."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _error(message: str, kind: str) -> bytes:
    return json.dumps({"errorMessage": message, "errorType": kind}).encode()


def _preload(modules: Iterable[str], layers: Iterable[str]) -> None:
    """Import the modules that functions need; the functions themselves report import errors."""
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


def main() -> None:
    """Run as the fork server; the arguments are the control socket's descriptor and a JSON list of modules to preload."""
    control = socket.socket(fileno=int(sys.argv[1]))
    options = json.loads(sys.argv[2])
    # Loggers keep the stream that they were made with: one object, made right before anything is imported.
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    sys.path[:0] = options["layers"]
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for reports
        _preload(options["modules"], options["layers"])
    gc.collect()
    gc.freeze()  # keeps the memory pages of imported modules shared between the forks
    serve(control)


if __name__ == "__main__":
    main()
