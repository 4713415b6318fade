"""Functions fail as on Lambda: exceptions, timeouts, crashes, kills."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local.lambda_runtime.runtime import UnknownFunctionError
from tests.integration.local.lambda_runtime.example_functions import Running, deployment_in, run, until


def test_an_exception_is_an_error_without_a_trace(tmp_path: Path) -> None:
    """The trace is in the log, and the process goes on."""

    async def test(running: Running) -> None:
        pid, _ = (await running.act("pid")).json()
        failed = await running.act("raise", text="nothing there")

        assert failed.failed
        assert failed.json() == {"errorMessage": "nothing there", "errorType": "LookupError"}
        assert (await running.act("pid")).json() == [pid, 3]

    lines = run(tmp_path, test)

    assert ("Act", "[ERROR] LookupError: nothing there") in lines
    assert ("Act", '    raise LookupError(event["text"])') in lines


def test_a_function_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    """It is killed at its timeout; the next event gets a new process."""

    async def test(running: Running) -> None:
        pid, _ = (await running.act("pid")).json()
        failed = await running.act("sleep", seconds=60)

        assert failed.json()["errorMessage"].endswith("Task timed out after 2.00 seconds")
        assert not psutil.pid_exists(pid)
        assert (await running.act("pid")).json()[1] == 1

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
        results = await asyncio.gather(*(running.runtime.invoke(function, {}) for _ in range(3)))

        assert all(result.failed for result in results)
        assert [result.json()["errorType"] for result in results] == [kind] * 3

    run(tmp_path, test)


def test_an_unknown_function_is_an_error_of_the_caller(tmp_path: Path) -> None:
    """Synchronously and asynchronously."""

    async def test(running: Running) -> None:
        with pytest.raises(UnknownFunctionError):
            await running.runtime.invoke("Nobody", {})
        with pytest.raises(UnknownFunctionError):
            running.runtime.invoke_async("Nobody", {})

    run(tmp_path, test)


def test_close_does_not_wait_for_a_busy_function(tmp_path: Path) -> None:
    """Its caller gets a failure, and so does a caller that comes later."""

    async def test(running: Running) -> None:
        pid, _ = (await running.act("pid")).json()
        busy = asyncio.create_task(running.act("sleep", seconds=60))
        await asyncio.sleep(0.05)
        await running.runtime.close(patience=0.1)

        assert (await busy).failed
        assert (await running.act("echo")).failed
        assert not psutil.pid_exists(pid)

    run(tmp_path, test)


def test_a_fork_server_that_died_is_replaced(tmp_path: Path) -> None:
    """Its workers end with it, and the next event is served."""

    async def test(running: Running) -> None:
        pid, _ = (await running.act("pid")).json()
        fork_server = psutil.Process(pid).parent()
        assert fork_server is not None
        fork_server.kill()
        await until(lambda: not psutil.pid_exists(fork_server.pid))

        assert (await running.act("pid")).json()[1] == 1

    run(tmp_path, test)


PROGRAM = """
import asyncio, sys
from pathlib import Path
from local.lambda_runtime.runtime import Runtime
from local.sam_template.resources import Deployment

async def main():
    deployment = Deployment.load(Path(sys.argv[1]) / "template.yaml")
    runtime = Runtime(deployment, gateway_url="", log=lambda *_: None, preload=())
    busy = asyncio.create_task(runtime.invoke("Act", {"act": "sleep", "seconds": 60}))
    await runtime.invoke("Act", {"act": "pid"})
    print("ready", flush=True)
    await busy

asyncio.run(main())
"""


def test_all_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """The idle one, the busy one and the fork server."""
    deployment_in(tmp_path, timeout=60)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[4]
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        descendants = psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + 20
    while (alive := [each for each in descendants if _runs(each)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(descendants) == 3
    assert alive == []


def _runs(process: psutil.Process) -> bool:
    """Tell whether a process runs; a zombie does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
