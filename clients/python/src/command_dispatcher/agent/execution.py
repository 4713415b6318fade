"""Runs the handlers: async ones as tasks, others in threads; their ends become outcomes."""

import asyncio
import contextvars
import json
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .command import Command, encode_body
from .errors import Cancelled, Reject, Retry
from .forks import contained, end_child
from .handlers import Handlers, Registered
from .messages import Delivery
from .writes import Outcome

logger = logging.getLogger("command_dispatcher.agent")
ERROR_CHARACTERS = 4000
current: contextvars.ContextVar[Command | None] = contextvars.ContextVar("command", default=None)
"""The command whose handler runs, for the log."""


@dataclass(slots=True)
class _Execution:
    command: Command
    task: asyncio.Task[None]
    is_async: bool
    begun: bool = False


class Executions:
    """The handlers that run, in one event loop; `on_end` and `on_progress` are called in any thread."""

    def __init__(
        self, handlers: Handlers, on_end: Callable[[str, Outcome], None], on_progress: Callable[[str, str], None]
    ) -> None:
        self._handlers = handlers
        self._on_end, self._on_progress = on_end, on_progress
        self._running: dict[str, _Execution] = {}

    def start(self, delivery: Delivery, *, resumed: bool) -> None:
        """Run the handler of a command."""
        command = Command(delivery, resumed=resumed, say=self._on_progress)
        registered = self._handlers.find(delivery.action)
        assert registered is not None  # noqa: S101 - unknown actions are rejected before
        task = asyncio.get_running_loop().create_task(self._run(registered, command), name=f"command {command.id}")
        self._running[command.id] = _Execution(command, task, registered.is_async)

    def stop(self, command_id: str) -> None:
        """Ask a handler to stop: an async one is cancelled, another one finds `command.cancelled`."""
        execution = self._running.get(command_id)
        if execution is not None:
            execution.command.cancelled.set()
            # A task that is cancelled before its first step never takes it, and would not say how it ended.
            if execution.is_async and execution.begun:
                execution.task.cancel()

    async def abandon(self) -> None:
        """Cancel all handlers, and wait for the async ones: the process is not there any more, in a test."""
        tasks = [execution.task for execution in self._running.values()]
        for execution in self._running.values():
            execution.command.cancelled.set()
            execution.task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, registered: Registered, command: Command) -> None:
        token = current.set(command)
        try:
            self._running[command.id].begun = True
            outcome = Outcome(kind="stopped") if command.cancelled else await _outcome_of(registered, command)
        finally:
            current.reset(token)
            self._running.pop(command.id, None)
        self._on_end(command.id, outcome)


async def _outcome_of(registered: Registered, command: Command) -> Outcome:
    fields = {"command_id": command.id, "action": command.action, "attempt": command.attempt}
    logger.info("Command begins", extra=fields | {"resumed": command.resumed})
    try:
        call = _in_place(registered.call) if registered.is_async else _in_thread(registered.call)
        body = encode_body(await call(command), "result")
    except Retry as retry:
        words = _text(retry)
        logger.warning("Command is to be retried: %s", words, extra=fields | {"after": retry.after})
        return _failed(words, retryable=True, after=retry.after)
    except Reject as reason:
        words = _text(reason)
        logger.warning("Command rejected: %s", words, extra=fields)
        return _failed(words or "rejected")
    except (Cancelled, asyncio.CancelledError):
        logger.info("Command stopped", extra=fields)
        return Outcome(kind="stopped")
    except BaseException as error:
        logger.exception("Command failed", extra=fields)
        return _failed(_words(error))
    logger.info("Command completed", extra=fields)
    return Outcome(kind="complete", body=body)


def _failed(reason: str, *, retryable: bool = False, after: float = 0.0) -> Outcome:
    body = json.dumps(reason[:ERROR_CHARACTERS])
    return Outcome(kind="failed", body=body, retryable=retryable, retry_after=after)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a handler's own exception may be broken, and its command has failed all the same
        return type(error).__name__


def _words(error: BaseException) -> str:
    text = _text(error)
    return f"{type(error).__name__}: {text}" if isinstance(error, KeyError) and text else text or type(error).__name__


def _in_place(function: Callable[[Command], Awaitable[Any]]) -> Callable[[Command], Awaitable[Any]]:
    """Return a function that awaits `function` in the event loop."""

    async def call(command: Command) -> Any:
        return await function(command)

    return lambda command: contained(call(command))


def _in_thread(function: Callable[[Command], Any]) -> Callable[[Command], "asyncio.Future[Any]"]:
    """Return a function that calls `function` in a thread of its own, which does not keep the process alive."""

    def call(command: Command) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()
        process = os.getpid()

        def settle(result: Any, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def run() -> None:
            result: Any = None
            failure: BaseException | None = None
            try:
                result = context.run(function, command)
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
                failure = RuntimeError("StopIteration") if isinstance(error, StopIteration) else error
            end_child(process)
            try:
                loop.call_soon_threadsafe(settle, result, failure)
            except RuntimeError:
                logger.debug("A handler ended after the agent")

        threading.Thread(target=run, name=f"command {command.id}", daemon=True).start()
        return future

    return call
