"""What an agent does with its commands, against the service that `testing` plays."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from command_dispatcher import Agent, Reject, Retry, testing
from command_dispatcher.agent import Cancelled, Command
from command_dispatcher.agent.messages import Delivery, decode

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the tests."""
    return "asyncio"


def agent_with(handler: Callable[..., Any], **promises: bool) -> Agent:
    """Make an agent with one handler, for the action `work`."""
    agent = Agent()
    agent.on("work", **promises)(handler)
    return agent


async def test_a_command_is_acknowledged_executed_and_its_result_reported() -> None:
    """The handler sees everything that the operator sent."""
    seen: list[Any] = []

    async def work(command: Command) -> dict[str, bool]:
        seen.append((command.payload, command.attempt, command.session_id, command.action, bool(command.cancelled)))
        await command.progress({"percent": 40})
        await asyncio.sleep(5)
        return {"ok": True}

    async with testing.Service(agent_with(work)) as service:
        command = service.deliver("work", {"now": True}, session_id="s-1")
        await service.advance(6)

    assert seen == [({"now": True}, 1, "s-1", "work", False)]
    assert command.reports == ["ack", "progress", "complete"]
    assert (command.status, command.result, command.progress) == ("completed", {"ok": True}, [{"percent": 40}])


async def test_a_function_without_async_runs_in_a_thread() -> None:
    """It reports progress without `await`."""

    def work(command: Command) -> str:
        command.progress(1)
        return threading.current_thread().name

    async with testing.Service(agent_with(work)) as service:
        command = await service.deliver("work").ended()

    assert command.result == f"command {command.id}"
    assert "ack" in command.reports


async def test_an_unknown_action_fails_with_its_name() -> None:
    """Operators search for these words."""
    async with testing.Service(Agent()) as service:
        command = await service.deliver("wrok").ended()

    assert (command.status, command.error) == ("failed", "unknown action: wrok")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no space left"), "no space left"),
        (KeyError("zone"), "KeyError: 'zone'"),
        (TimeoutError(), "TimeoutError"),
        (SystemExit(3), "3"),
        (Reject("not on Sundays"), "not on Sundays"),
    ],
)
async def test_an_error_of_a_handler_is_the_commands_error(
    error: BaseException, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The operator gets the message; the stack trace is in the agent's log, except for what was rejected on purpose."""

    async def work(_: Command) -> None:
        raise error

    async with testing.Service(agent_with(work)) as service:
        command = await service.deliver("work").ended()

    assert (command.status, command.error) == ("failed", words)
    assert ("Traceback" in caplog.text) is not isinstance(error, Reject)


@pytest.mark.parametrize("result", [{1, 2}, float("nan"), "x" * 200_000])
async def test_a_result_that_does_not_fit_fails_the_command(result: object) -> None:
    """What is not JSON, or too large for a message."""

    async def work(_: Command) -> object:
        return result

    async with testing.Service(agent_with(work)) as service:
        command = await service.deliver("work").ended()

    assert command.error is not None
    assert command.error.startswith("the result ")


async def test_a_retry_is_executed_again_after_its_pause() -> None:
    """The pause is the handler's own, also if the service would come earlier."""
    attempts: list[int] = []

    async def work(command: Command) -> str:
        attempts.append(command.attempt)
        if command.attempt == 1:
            raise Retry("busy", after=60)
        return "done"

    async with testing.Service(agent_with(work)) as service:
        command = service.deliver("work", execution_seconds=30)
        await service.advance(50)
        before = list(attempts)
        await service.advance(15)

    assert (before, attempts) == ([1], [1, 2])
    assert (command.status, command.result) == ("completed", "done")


async def test_commands_of_one_session_run_in_order_and_sessions_run_at_the_same_time() -> None:
    """Commands without a session are in order among themselves; a concurrent action waits for nobody."""
    begun: list[str] = []
    agent = Agent()

    async def work(command: Command) -> None:
        begun.append(command.payload)
        await asyncio.sleep(10)

    agent.on("work")(work)
    agent.on("look", concurrent=True)(work)

    async with testing.Service(agent) as service:
        for session_id, name in [("a", "a1"), ("a", "a2"), ("b", "b1"), (None, "n1"), (None, "n2")]:
            service.deliver("work", name, session_id=session_id)
        service.deliver("look", "look")
        await service.settle()
        first = list(begun)
        await service.advance(11)

    assert first == ["a1", "b1", "n1", "look"]
    assert begun[4:] == ["a2", "n2"]


async def test_no_more_commands_run_than_the_window_allows() -> None:
    """The others are not acknowledged before their turn, so the service does not send ever more."""
    agent = Agent(window=2)

    @agent.on("work")
    async def work(_: Command) -> None:
        await asyncio.sleep(10)

    async with testing.Service(agent) as service:
        commands = [service.deliver("work", session_id=str(number)) for number in range(3)]
        await service.settle()
        statuses = [command.status for command in commands]
        await service.advance(21)

    assert statuses == ["acknowledged", "acknowledged", "sent"]
    assert [command.status for command in commands] == ["completed"] * 3


async def test_a_command_that_is_delivered_again_is_not_executed_again() -> None:
    """While it runs the new attempt is acknowledged; after its end the same end is reported."""
    runs: list[int] = []

    async def work(command: Command) -> int:
        runs.append(command.attempt)
        await asyncio.sleep(5)
        return len(runs)

    async with testing.Service(agent_with(work)) as service:
        command = service.deliver("work")
        await service.settle()
        service.redeliver(command)
        await service.advance(6)
        first = (command.status, command.result)
        service.redeliver(command)
        await service.settle()

    assert runs == [1]
    assert first == (command.status, command.result) == ("completed", 1)
    assert command.reports == ["ack", "ack", "complete", "ack", "complete"]


async def test_a_command_that_arrives_after_its_time_is_not_executed() -> None:
    """The gateway may have held the message back."""
    runs: list[Command] = []
    async with testing.Service(agent_with(runs.append)) as service:
        command = await service.deliver("work", deliver_by=datetime.now(UTC) - timedelta(seconds=1)).ended()

    assert (runs, command.error) == ([], "delivered too late")


async def test_a_cancel_stops_a_running_handler_and_one_that_waits_for_its_turn() -> None:
    """The handler of the second never runs."""
    runs: list[str] = []

    async def work(command: Command) -> None:
        runs.append(command.id)
        await asyncio.sleep(1000)

    async with testing.Service(agent_with(work)) as service:
        running, waiting = service.deliver("work"), service.deliver("work")
        await service.settle()
        service.cancel(waiting)
        service.cancel(running)
        await service.settle()

    assert (running.status, waiting.status) == ("cancelled", "cancelled")
    assert runs == [running.id]


async def test_a_function_without_async_sees_the_cancel() -> None:
    """It says that it stopped by raising Cancelled."""

    def work(command: Command) -> None:
        command.cancelled.wait()
        raise Cancelled

    async with testing.Service(agent_with(work)) as service:
        command = service.deliver("work")
        await service.settle()
        service.cancel(command)
        await command.ended()

    assert command.status == "cancelled"


async def test_a_handler_that_finishes_after_a_cancel_has_completed() -> None:
    """What was done is reported as done."""

    async def work(_: Command) -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1000)
        return "too late to stop"

    async with testing.Service(agent_with(work)) as service:
        command = service.deliver("work")
        await service.settle()
        service.cancel(command)
        await service.settle()

    assert (command.status, command.result) == ("completed", "too late to stop")


async def test_a_handler_is_stopped_at_its_execution_timeout_and_progress_moves_it() -> None:
    """The agent does not wait for the service to ask."""

    async def work(command: Command) -> None:
        await asyncio.sleep(8)
        await command.progress("half")
        await asyncio.sleep(1000)

    async with testing.Service(agent_with(work)) as service:
        command = service.deliver("work", execution_seconds=10)
        await service.advance(17)
        running = command.status
        await service.advance(3)

    assert running == "acknowledged"
    assert "progress" in command.reports
    assert command.reports[-1] == "failed"


async def test_progress_is_reported_once_a_second_at_most_and_the_last_one_counts() -> None:
    """A handler may report as often as it likes."""

    async def work(command: Command) -> None:
        for number in range(100):
            await command.progress(number)
        await asyncio.sleep(10)

    async with testing.Service(agent_with(work)) as service:
        command = service.deliver("work")
        await service.advance(5)

    assert command.progress[-1] == 99
    assert len(command.progress) <= 3


async def test_the_last_progress_comes_before_the_end() -> None:
    """Also if the handler ends right after it."""

    async def work(command: Command) -> None:
        await command.progress({"percent": 40})
        await command.progress({"percent": 90})

    async with testing.Service(agent_with(work)) as service:
        command = await service.deliver("work").ended()

    assert command.progress[-1] == {"percent": 90}
    assert command.reports[-2:] == ["progress", "complete"]


async def test_a_command_behind_a_long_one_is_kept_alive_instead_of_using_up_its_attempts() -> None:
    """After two deliveries without its turn it is acknowledged, and says that it waits."""

    async def work(_: Command) -> None:
        await asyncio.sleep(100)

    async with testing.Service(agent_with(work)) as service:
        service.deliver("work")
        waiting = service.deliver("work", execution_seconds=30)
        await service.settle()
        for _ in range(2):
            service.redeliver(waiting)
        await service.advance(90)
        statuses = waiting.status
        await service.advance(20)

    assert statuses == "acknowledged"
    assert waiting.progress[0] == {"waiting": "for its turn at the agent"}
    assert waiting.status in {"acknowledged", "failed"}
    assert waiting.attempt == 3


async def test_a_command_that_waits_for_minutes_uses_up_no_attempt() -> None:
    """It is acknowledged before the service gives up waiting; then its turn comes."""

    async def work(_: Command) -> None:
        await asyncio.sleep(290)

    async with testing.Service(agent_with(work)) as service:
        service.deliver("work")
        waiting = service.deliver("work", execution_seconds=295)
        statuses: list[str] = []
        for seconds in (230, 20, 340):
            await service.advance(seconds)
            statuses.append(waiting.status)

    assert statuses == ["sent", "acknowledged", "completed"]
    assert waiting.attempt == 1


@pytest.mark.parametrize(
    ("action", "payload", "error"),
    [(17, {}, "unknown action: 17"), (None, {}, "unknown action: null"), ({}, 1, "unknown action: (not a text)")],
)
async def test_an_action_that_is_no_text_is_unknown(action: Any, payload: object, error: str) -> None:
    """Whatever a program put into the table."""
    async with testing.Service(Agent()) as service:
        command = await service.deliver(action, payload).ended()

    assert command.error == error


def test_a_payload_that_is_nested_too_deeply_does_not_end_the_agent() -> None:
    """What can just be read may be too deep to be stored: at each depth the command is usable, fails, or is no message."""
    kinds: list[str] = []
    for depth in range(900, 1010):
        payload = "[" * depth + "]" * depth
        entry = f'{{"commandId": "cmd-1", "attempt": 1, "action": "work", "payload": {payload}}}'
        [part] = decode(f'{{"type": "commands", "commands": [{entry}]}}')
        if isinstance(part, Delivery) and part.payload:
            assert Delivery.from_json("cmd-1", 1, part.to_json()).command_id == "cmd-1"
        kinds.append(type(part).__name__)

    assert set(kinds) == {"Delivery", "Ignored"}


def test_a_record_of_the_log_is_json_and_names_its_command() -> None:
    """Fields beside the message stay fields."""
    from command_dispatcher.agent.logs import JsonFormatter  # noqa: PLC0415

    record = logging.makeLogRecord(
        {"msg": "Command %s", "args": ("begins",), "levelname": "INFO", "command_id": "cmd-1"}
    )

    line = JsonFormatter().format(record)

    assert '"message": "Command begins"' in line
    assert '"command_id": "cmd-1"' in line


def test_a_line_of_the_log_for_people_names_its_command() -> None:
    """Several commands run at a time: `Command failed` alone says nothing."""
    from command_dispatcher.agent.logs import TextFormatter  # noqa: PLC0415

    about = {"msg": "Command begins", "levelname": "INFO"}
    record = logging.makeLogRecord(about | {"command_id": "cmd-1", "action": "restart"})

    assert TextFormatter().format(record).endswith(" INFO Command begins (restart cmd-1)")
    assert TextFormatter().format(logging.makeLogRecord(about)).endswith(" INFO Command begins")


class Unspeakable(Exception):
    """An exception with a bug of its own."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


async def test_an_exception_without_words_fails_its_command_too() -> None:
    """The command ends, and those behind it have their turn."""

    def work(_: Command) -> None:
        raise Unspeakable

    async with testing.Service(agent_with(work)) as service:
        first = await service.deliver("work").ended()
        second = await service.deliver("work").ended()

    assert (first.status, first.error, second.status) == ("failed", "Unspeakable", "failed")
