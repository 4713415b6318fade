"""The agent as a process in trouble, against the service that the conformance kit plays."""

import contextlib
import os
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import psutil
import pytest

from conformance.findings import Findings
from conformance.harness import Harness, Limits, Options
from conformance.message_codec import Command, encode_cancel

SCRIPT = Path(__file__).with_name("troubled_agent.py")
ROOT = Path(__file__).parents[4]
SECONDS = 60.0

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the tests."""
    return "asyncio"


@pytest.fixture(autouse=True)
def path_of_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent is started from the repository."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "clients/python/src"))


@contextlib.asynccontextmanager
async def harness_in(folder: Path, *arguments: str) -> AsyncGenerator[Harness]:
    """Prepare the agent; the test starts it."""
    command = shlex.join([sys.executable, str(SCRIPT), str(folder), *arguments])
    limits = Limits(start=SECONDS, answer=SECONDS, execution=SECONDS, reconnect=SECONDS)
    async with Harness(Options(agent=command, limits=limits), Findings([]), "agent", folder / "kit") as harness:
        yield harness


def command(action: str, command_id: str = "cmd-1", **payload: Any) -> Command:
    """Make a command."""
    return Command(command_id=command_id, action=action, payload=payload)


def runs(folder: Path) -> list[str]:
    """Return the commands whose handlers ran, in order."""
    path = folder / "runs"
    return path.read_text().split() if path.exists() else []


async def test_a_handler_that_blocks_its_loop_blocks_no_connection(tmp_path: Path) -> None:
    """Pings are answered, and the ack went out before."""
    async with harness_in(tmp_path) as harness:
        connection = await harness.start_and_connect()
        blocking = command("block", seconds=2)
        harness.send(blocking)
        assert await harness.until(lambda: runs(tmp_path), SECONDS)
        connection.send_ping(b"alive")
        assert await harness.until(lambda: b"alive" in connection.pongs, SECONDS)
        ended_before = harness.end_of(blocking)

        assert await harness.wait_for_ends(blocking) is None
        end = harness.end_of(blocking)

    assert ended_before is None
    assert end is not None
    assert end.body == "unblocked"


@pytest.mark.parametrize("action", ["fork", "fork_async", "fork_and_wait", "fork_in_a_task"])
async def test_a_child_that_a_handler_forked_does_not_become_a_second_agent(tmp_path: Path, action: str) -> None:
    """The command ends once, with the result of the parent; other handlers take each step once."""
    async with harness_in(tmp_path) as harness:
        await harness.start_and_connect()
        first, second, third = command(action), command("work", "cmd-2"), command("count", "cmd-3")
        harness.send(third, first, second)
        assert await harness.wait_for_ends(third, first, second) is None
        ends = [(report.command_id, report.body) for report in harness.reports() if report.is_end]
        [agent] = [each for each in psutil.Process().children() if str(SCRIPT) in each.cmdline()]
        living = [each for each in agent.children() if each.status() != psutil.STATUS_ZOMBIE]

    assert sorted(ends) == [("cmd-1", "parent"), ("cmd-2", "done"), ("cmd-3", "counted")]
    assert living == []
    assert (tmp_path / "steps").read_text().split() == [*map(str, range(20)), "end"]


async def test_a_child_that_goes_on_ends_at_a_signal_and_disturbs_no_agent(tmp_path: Path) -> None:
    """A signal to the child is not one to the agent."""
    async with harness_in(tmp_path) as harness:
        await harness.start_and_connect()
        forking, working = command("fork_and_stay"), command("work", "cmd-2")
        assert await harness.execute(forking) is None
        end = harness.end_of(forking)
        assert end is not None
        child = psutil.Process(int(str(end.body)))
        child.terminate()
        assert await harness.until(lambda: child.status() == psutil.STATUS_ZOMBIE, SECONDS)
        assert await harness.execute(working) is None
        signalled = "Ending after" in _log(harness)

    assert not signalled


async def test_an_agent_that_starts_with_a_full_disk_waits_for_room(tmp_path: Path) -> None:
    """It does not connect, so commands wait for it."""
    async with harness_in(tmp_path) as harness:
        # A limit of the size of its files stands for the disk: the log fits, the state file does not.
        resource.prlimit(os.getpid(), resource.RLIMIT_FSIZE, (16_384, resource.RLIM_INFINITY))
        try:
            await harness.agent.start()
        finally:
            resource.prlimit(os.getpid(), resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert await harness.until(lambda: "state file can be written" in _log(harness), SECONDS)
        [agent] = [each for each in psutil.Process().children() if str(SCRIPT) in each.cmdline()]
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await harness.connected(after=0, seconds=SECONDS)
        assert await harness.execute(command("work")) is None

    assert runs(tmp_path) == ["cmd-1"]


async def test_a_second_process_on_one_state_file_ends_with_a_clear_sentence(tmp_path: Path) -> None:
    """The first one is not disturbed."""
    async with harness_in(tmp_path) as harness:
        await harness.start_and_connect()
        second = subprocess.run(  # noqa: ASYNC221 - the first process is another one
            [sys.executable, str(SCRIPT), str(tmp_path)],
            env={
                **os.environ,
                "DISPATCHER_URL": harness.service.url,
                "AGENT_ID": harness.agent_id,
                "AGENT_API_KEY": "a" * 64,
            },
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert await harness.execute(command("work")) is None

    assert second.returncode == 1
    assert second.stderr.startswith("The agent does not run. The state file ")
    assert "is in use by another agent (process " in second.stderr
    assert "Traceback" not in second.stderr


async def test_sigterm_lets_a_command_finish_and_ends_with_exit_code_0(tmp_path: Path) -> None:
    """Its result is said before the connection is closed."""
    async with harness_in(tmp_path) as harness:
        connection = await harness.start_and_connect()
        working = command("wait", seconds=1)
        harness.send(working)
        assert await harness.until(lambda: runs(tmp_path), SECONDS)
        assert await harness.agent.terminate(SECONDS)

        end, code = harness.end_of(working), harness.agent.exit_code
        how = connection.describe_end()

    assert code == 0
    assert end is not None
    assert end.kind == "complete"
    assert "the agent closed the connection (1000" in how


async def test_a_handler_that_blocks_for_ever_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    """After the time for finishing the process ends; the next one reports the command as interrupted."""
    async with harness_in(tmp_path) as harness:
        await harness.start_and_connect()
        blocking = command("block", seconds=600)
        harness.send(blocking)
        assert await harness.until(lambda: runs(tmp_path), SECONDS)
        # The second signal asks to end at once.
        [agent] = [each for each in psutil.Process().children() if str(SCRIPT) in each.cmdline()]
        agent.send_signal(signal.SIGTERM)
        assert await harness.until(lambda: "Ending after SIGTERM" in _log(harness), SECONDS)
        agent.send_signal(signal.SIGTERM)
        assert await harness.until(lambda: harness.agent.exit_code is not None, SECONDS)
        code = harness.agent.exit_code

        await harness.start_and_connect()
        assert await harness.wait_for_ends(blocking) is None
        end = harness.end_of(blocking)

    assert code == 1
    assert end is not None
    assert str(end.body).startswith("interrupted: ")
    assert runs(tmp_path) == ["cmd-1"]


def _log(harness: Harness) -> str:
    return (harness.folder / "conformance.log").read_text()


async def test_a_cancel_reaches_a_handler(tmp_path: Path) -> None:
    """Across the threads of the process."""
    async with harness_in(tmp_path) as harness:
        connection = await harness.start_and_connect()
        waiting = command("wait", seconds=600)
        harness.send(waiting)
        assert await harness.until(lambda: runs(tmp_path), SECONDS)
        connection.send(encode_cancel(waiting))
        assert await harness.wait_for_ends(waiting) is None
        end = harness.end_of(waiting)

    assert end is not None
    assert end.kind == "cancelled"
