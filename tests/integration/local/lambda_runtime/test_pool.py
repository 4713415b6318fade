"""Functions share processes: what each of them still has for itself, and how many processes there are."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from local.lambda_runtime import pool
from local.lambda_runtime.runtime import WAITED_TOO_LONG, Runtime
from local.sam_template.resources import Deployment
from tests.integration.local.lambda_runtime.example_functions import Running, run, until

if TYPE_CHECKING:
    from pathlib import Path

    from local.lambda_runtime.runtime import Result

TWO = """
Resources:
  One: {Type: AWS::Serverless::Function, Properties: {CodeUri: one, Handler: app.handler, Environment: {Variables: {A: "1"}}}}
  Two: {Type: AWS::Serverless::Function, Properties: {CodeUri: two, Handler: app.handler, Environment: {Variables: {B: "2"}}}}
"""
APP = """
import os
import beside
count = 0
def handler(event, context):
    global count
    count += 1
    print(f"{context.function_name} has no end", end="")
    variables = {name: os.environ.get(name) for name in ("A", "B", "AWS_LAMBDA_FUNCTION_NAME")}
    return {"pid": os.getpid(), "count": count, "beside": beside.NAME, "folder": os.getcwd(), **variables}
"""


def test_functions_in_one_process_do_not_see_each_other(tmp_path: Path) -> None:
    """Each has its module, the files beside it, its variables, its folder and its lines in the log."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "app.py").write_text(APP)
        (tmp_path / folder / "beside.py").write_text(f"NAME = {folder!r}")
    (tmp_path / "template.yaml").write_text(TWO)
    lines = list[tuple[str, str]]()

    async def work() -> list[dict[str, object]]:
        deployment = Deployment.load(tmp_path / "template.yaml")
        runtime = Runtime(
            deployment, gateway_url="", log=lambda name, line: lines.append((name, line)), preload=(), concurrency=1
        )
        try:
            return [(await runtime.invoke(name, {})).json() for name in ("One", "Two", "One")]
        finally:
            await runtime.close()

    first, second, third = asyncio.run(work())

    pid = first["pid"]
    one = {"pid": pid, "beside": "one", "folder": str(tmp_path / "one"), "A": "1", "B": None}
    two = {"pid": pid, "beside": "two", "folder": str(tmp_path / "two"), "A": None, "B": "2"}
    assert first == {**one, "count": 1, "AWS_LAMBDA_FUNCTION_NAME": "One"}
    assert second == {**two, "count": 1, "AWS_LAMBDA_FUNCTION_NAME": "Two"}
    assert third == {**one, "count": 2, "AWS_LAMBDA_FUNCTION_NAME": "One"}
    assert lines == [(name, f"{name} has no end") for name in ("One", "Two", "One")]


def test_the_process_that_was_used_last_is_reused(tmp_path: Path) -> None:
    """So that the others can end."""

    async def test(running: Running) -> None:
        used = await asyncio.gather(*(running.act("sleep", seconds=0.2) for _ in range(3)))
        last, _ = (await running.act("pid")).json()

        assert last in {result.json() for result in used}
        assert {(await running.act("pid")).json()[0] for _ in range(5)} == {last}

    run(tmp_path, test)


def test_functions_that_wait_do_not_hold_up_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although every kept process is taken; the further ones end soon after."""
    monkeypatch.setattr(pool, "_SPARE_SECONDS", 0.2)

    async def test(running: Running) -> None:
        waiting = [asyncio.create_task(running.act("sleep", seconds=60)) for _ in range(KEPT)]
        await until(lambda: len(_workers()) == KEPT)
        further, _ = (await running.act("pid")).json()

        assert not any(task.done() for task in waiting)
        await until(lambda: not psutil.pid_exists(further))

    run(tmp_path, test, timeout=60)


def test_after_a_peak_only_two_processes_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes memory."""
    monkeypatch.setattr(pool, "_KEPT_SECONDS", 0.2)

    async def test(running: Running) -> None:
        used = await asyncio.gather(*(running.act("sleep", seconds=0.2) for _ in range(KEPT)))
        await until(lambda: len(_workers()) == 2)

        assert (await running.act("pid")).json()[0] in {result.json() for result in used}

    run(tmp_path, test, timeout=60)


def test_a_storm_on_a_busy_machine_forks_no_more_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would only compete for the processors; the events wait, and none fails."""
    monkeypatch.setattr(pool, "_SLOW_SECONDS", 0.0)
    monkeypatch.setattr(pool, "_SLOW_SECONDS_UNDER_LOAD", 60.0)
    monkeypatch.setattr(pool.Processors, "idle_share", _never_idle)

    async def test(running: Running) -> None:
        results = await asyncio.gather(*(running.act("sleep", seconds=0.02) for _ in range(40 * KEPT)))

        assert not any(result.failed for result in results)
        assert len({result.json() for result in results}) == len(_workers()) == KEPT

    run(tmp_path, test)


def test_background_events_leave_processes_for_the_others(tmp_path: Path) -> None:
    """A quarter of all, however many background events wait."""

    async def test(running: Running) -> None:
        for _ in range(20):
            running.runtime.invoke_async("Act", {"act": "sleep", "seconds": 60})
        await until(lambda: len(_workers()) == 3)

        assert (await running.act("echo")).json() == {"act": "echo"}

    run(tmp_path, test, timeout=60, concurrency=4)


def test_a_message_does_not_wait_for_background_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the kept processes are always free of them: no further one has to be forked."""
    monkeypatch.setattr(pool, "_SLOW_SECONDS_UNDER_LOAD", 60.0)
    monkeypatch.setattr(pool.Processors, "idle_share", _never_idle)

    async def test(running: Running) -> None:
        for _ in range(2 * KEPT):
            running.runtime.invoke_async("Act", {"act": "sleep", "seconds": 60})
        await until(lambda: len(_workers()) == KEPT)

        assert (await running.act("echo")).json() == {"act": "echo"}
        assert len(_workers()) == KEPT

    run(tmp_path, test, timeout=60)


def test_an_idle_process_that_is_killed_costs_no_event(tmp_path: Path) -> None:
    """Its place is taken by a new one."""

    async def test(running: Running) -> None:
        pid, _ = (await running.act("pid")).json()
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not psutil.pid_exists(pid))
        await asyncio.sleep(0.05)  # some turns of the loop, which then reads the end of the process's socket

        assert (await running.act("echo")).json() == {"act": "echo"}

    run(tmp_path, test)


def test_a_caller_waits_no_longer_than_it_said(tmp_path: Path) -> None:
    """The function runs on, in the same process."""

    async def test(running: Running) -> None:
        pid, _ = (await running.act("pid")).json()
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        result: Result = await running.runtime.invoke("Act", {"act": "wait", "fifo": str(fifo)}, patience=0.1)

        assert result is WAITED_TOO_LONG
        await asyncio.to_thread(fifo.write_text, "")
        assert (await running.act("pid")).json() == [pid, 3]

    run(tmp_path, test, concurrency=1)


def test_a_waiting_event_does_not_use_up_its_callers_patience(tmp_path: Path) -> None:
    """It counts from when a process has the event: a busy machine answers late, not with an error."""

    async def test(running: Running) -> None:
        busy = asyncio.create_task(running.act("sleep", seconds=1))
        await until(lambda: len(_workers()) == 1)
        result = await running.runtime.invoke("Act", {"act": "echo"}, patience=0.5)

        assert result.json() == {"act": "echo"}
        await busy

    run(tmp_path, test, concurrency=1)


KEPT = 2 * (os.cpu_count() or 1)


def _never_idle(_processors: pool.Processors) -> float:
    return 0.0


_others = set[int]()


@pytest.fixture(autouse=True)
def other_servers() -> None:
    """Gateways that other modules keep in this process have fork servers, too."""
    _others.clear()
    _others.update(child.pid for child in psutil.Process().children())


def _workers() -> list[psutil.Process]:
    """Return the processes that run functions: the children of the test's own fork server."""
    with contextlib.suppress(psutil.NoSuchProcess):
        servers = [child for child in psutil.Process().children() if child.pid not in _others]
        return [worker for server in servers if "worker.py" in str(server.cmdline()) for worker in server.children()]
    return []
