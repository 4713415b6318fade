"""Functions fail as on Lambda: exceptions, timeouts, crashes, ends."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local.lambda_runtime.runtime import UnknownFunctionError
from tests.integration.local.lambda_runtime.running import Running, deployment_in, run


def test_an_exception_is_an_error_without_a_trace(tmp_path: Path) -> None:
    """The trace is in the log, and the process goes on."""

    async def test(running: Running) -> None:
        before = (await running.act("pid")).json()[0]
        failed = await running.act("raise", text="nothing there")

        assert failed.failed
        assert failed.json() == {"errorMessage": "nothing there", "errorType": "LookupError"}
        assert (await running.act("pid")).json()[0] == before

    lines = run(tmp_path, test)

    assert ("Act", "[ERROR] LookupError: nothing there") in lines
    assert ("Act", '    raise LookupError(event["text"])') in lines


def test_a_function_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    """In the middle of what it does; the next event gets a new process."""

    async def test(running: Running) -> None:
        pid = (await running.act("pid")).json()[0]
        started = time.monotonic()
        failed = await running.act("sleep", seconds=30)

        assert time.monotonic() - started < 5
        assert failed.json()["errorMessage"].endswith("Task timed out after 1.00 seconds")
        assert (await running.act("pid")).json()[0] != pid
        assert not psutil.pid_exists(pid)

    run(tmp_path, test)


@pytest.mark.parametrize(("act", "reason"), [("exit", "exit status 3"), ("kill", "signal: killed")])
def test_a_process_that_dies_fails_its_event_only(tmp_path: Path, act: str, reason: str) -> None:
    """The next event gets a new process."""

    async def test(running: Running) -> None:
        failed = await running.act(act)

        assert failed.failed
        assert failed.json()["errorMessage"].endswith(f"Runtime exited with error: {reason}")
        assert (await running.act("echo")).json() == {"act": "echo"}

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("function", "kind"), [("Broken", "Runtime.ImportModuleError"), ("Dying", "Runtime.ExitError")]
)
def test_a_function_that_cannot_be_loaded_fails_every_event(tmp_path: Path, function: str, kind: str) -> None:
    """None of them waits for ever."""

    async def test(running: Running) -> None:
        for result in await asyncio.gather(*(running.runtime.invoke(function, {}) for _ in range(3))):
            assert (result.failed, result.json()["errorType"]) == (True, kind)

    run(tmp_path, test)


def test_an_unknown_function_is_an_error_of_the_caller(tmp_path: Path) -> None:
    """Synchronously and asynchronously."""

    async def test(running: Running) -> None:
        with pytest.raises(UnknownFunctionError):
            await running.runtime.invoke("Nobody", {})
        with pytest.raises(UnknownFunctionError):
            running.runtime.invoke_async("Nobody", {})

    run(tmp_path, test)


def test_close_is_quick_though_a_function_is_busy(tmp_path: Path) -> None:
    """Its caller gets a failure."""

    async def test(running: Running) -> None:
        await running.act("pid")
        busy = asyncio.create_task(running.act("sleep", seconds=30))
        await asyncio.sleep(0.05)
        started = time.monotonic()
        await running.runtime.close(patience=0.1)

        assert time.monotonic() - started < 1
        assert (await busy).failed
        assert (await running.act("echo")).failed

    run(tmp_path, test)


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process runs; one whose end nobody has asked for does not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


ORPHANING = """
import asyncio, sys
from pathlib import Path
from local.lambda_runtime.runtime import Runtime
from local.sam_template.resources import Deployment

async def main():
    deployment = Deployment.load(Path(sys.argv[1]) / "template.yaml")
    runtime = Runtime(deployment, gateway_url="", log=lambda *_: None, preload=())
    print((await runtime.invoke("Act", {"act": "pid"})).json()[0], flush=True)
    await asyncio.gather(runtime.invoke("Act", {"act": "sleep", "seconds": 0.9}), runtime.invoke("Act", {"act": "pid"}))

asyncio.run(main())
"""


def test_all_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """The idle ones, the busy ones and the nursery."""
    deployment_in(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANING, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[4]
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        time.sleep(0.1)
        descendants = psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + 0.5  # sooner than the busy one would end by itself
    while any(map(is_alive, descendants)) and time.monotonic() < deadline:
        time.sleep(0.01)

    assert len(descendants) == 3
    assert not any(map(is_alive, descendants))


def test_a_nursery_that_died_is_replaced(tmp_path: Path) -> None:
    """Its workers are gone with it, and the next event is served."""

    async def test(running: Running) -> None:
        pid = (await running.act("pid")).json()[0]
        nursery = psutil.Process(pid).parent()
        assert nursery is not None
        nursery.kill()
        await asyncio.sleep(0.1)

        assert (await running.act("pid")).json()[0] != pid

    run(tmp_path, test)
