"""A child process that a handler forks: it may do work of its own, and ends where it would go on as a second agent."""

import asyncio
import os
import signal
import types
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")
_handled: dict[int, Any] = {}
"""What the signals of the agent of this process did before it ran."""


def end_child(process: int) -> None:
    """End this process, if it is not the one with this id: then a handler forked it."""
    if os.getpid() != process:
        os._exit(0)


@types.coroutine
def _steps(coroutine: Coroutine[Any, Any, Result]) -> Generator[Any, Any, Result]:
    process = os.getpid()
    step = partial(coroutine.send, None)
    try:
        while True:
            try:
                awaited = step()
            finally:
                end_child(process)
            try:
                sent = yield awaited
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - it is for the coroutine
                step = partial(coroutine.throw, error)
            else:
                step = partial(coroutine.send, sent)
    except StopIteration as stop:
        result: Result = stop.value
        return result


async def contained(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Await a coroutine; a child that it forks ends where the coroutine waits or ends.

    The child would else go on with the event loop of the agent, and execute what other handlers have begun.
    """
    return await _steps(coroutine)


def contained_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
    """Make a task whose coroutine is contained, as the task factory of the agent's event loop."""
    return asyncio.Task(contained(coroutine), loop=loop, **options)


def handle(numbers: dict[int, Any]) -> None:
    """Handle signals in this process; a child that it forks gets back what they did before."""
    for number, function in numbers.items():
        _handled[number] = signal.signal(number, function)


def restore() -> None:
    """Let the signals do what they did before."""
    while _handled:
        number, function = _handled.popitem()
        signal.signal(number, function)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=restore)
