"""`dispatcher agent exec`: one executable for each action, as real processes."""

import asyncio
import os
import time
from pathlib import Path

import psutil
import pytest

from command_dispatcher import testing
from command_dispatcher.agent.executables import agent_of

pytestmark = pytest.mark.anyio
SECONDS = 20.0


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the tests."""
    return "asyncio"


def script(folder: Path, name: str, text: str) -> None:
    """Write an executable."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)


@pytest.mark.parametrize(
    ("text", "status", "result", "error"),
    [
        ("cat", "completed", ("payload", {"name": "é"}), None),
        ("echo 7", "completed", 7, None),
        ("echo restarted", "completed", "restarted", None),
        ("exit 0", "completed", None, None),
        ("echo 'no space left' >&2; exit 3", "failed", None, "no space left"),
        ("exit 4", "failed", None, "exit code 4"),
        ("kill -9 $$", "failed", None, "exit code -9"),
        ('[ "$COMMAND_ATTEMPT" = 2 ] || exit 75', "completed", None, None),
    ],
)
async def test_an_executable_gets_its_command_and_its_exit_code_decides(
    tmp_path: Path, text: str, status: str, result: object, error: str | None
) -> None:
    """Exit code 75 asks for another attempt."""
    script(tmp_path, "work.sh", text)
    async with testing.Service(agent_of(tmp_path)) as service:
        command = service.deliver("work", {"name": "é"})
        async with asyncio.timeout(SECONDS + 200):
            while not command.has_ended:
                await asyncio.sleep(0.01)
                await service.advance(1 if command.status == "pending" else 0)

    assert (command.status, command.error) == (status, error)
    if isinstance(result, tuple):
        assert command.result[result[0]] == result[1]
    else:
        assert command.result == result


@pytest.mark.parametrize("action", ["absent", "../work", "notes.txt", ".hidden", "", "work.sh/"])
async def test_only_executables_of_the_folder_are_actions(tmp_path: Path, action: str) -> None:
    """An action never leads to another folder, or to a file that is not executable."""
    (tmp_path / "actions").mkdir()
    script(tmp_path, "work", "echo outside")
    script(tmp_path / "actions", ".hidden", "echo hidden")
    (tmp_path / "actions" / "notes.txt").write_text("not executable")

    async with testing.Service(agent_of(tmp_path / "actions")) as service:
        command = await service.deliver(action).ended()

    assert command.error == f"unknown action: {action}"


@pytest.mark.parametrize("moment", ["while it starts", "later"])
async def test_a_cancel_ends_the_process_and_everything_that_it_started(tmp_path: Path, moment: str) -> None:
    """First by SIGTERM; by SIGKILL where that does not help."""
    script(tmp_path, "work", f"trap '' TERM; sleep 1000 & echo $$ $! > {tmp_path}/pids; while :; do wait; done")
    async with testing.Service(agent_of(tmp_path, stop_seconds=0.1)) as service:
        command = service.deliver("work")
        for _ in range(3 if moment == "while it starts" else 100):
            await asyncio.sleep(0)
        deadline = time.monotonic() + SECONDS
        while len(_read(tmp_path / "pids").split()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)  # noqa: ASYNC251 - the loop must not go on, so that the start does not end
        pids = [int(pid) for pid in _read(tmp_path / "pids").split()]
        service.cancel(command)
        async with asyncio.timeout(SECONDS):
            await command.ended()

        async with asyncio.timeout(SECONDS):
            while any(_lives(pid) for pid in pids):  # noqa: ASYNC110 - other processes end
                await asyncio.sleep(0.01)

    assert command.status == "cancelled"


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _lives(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}") and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # noqa: PTH110
