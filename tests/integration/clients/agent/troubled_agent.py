"""An agent whose handlers and whose process are in trouble, for the tests of this folder.

    python troubled_agent.py FOLDER [POINT]

The handlers write to FOLDER/runs which command they run.  At POINT, a step between two commits, the process kills itself,
once: the next process with the same folder goes on.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from command_dispatcher import Agent
from command_dispatcher.agent import Command
from command_dispatcher.agent.storage import SqliteStorage
from command_dispatcher.agent.writes import Accept, Begin, Confirm, End, Write

FOLDER = Path(sys.argv[1])
POINT = sys.argv[2] if len(sys.argv) > 2 else ""
KINDS = {"accept": Accept, "begin": Begin, "end": End, "confirm": Confirm}
agent = Agent(state=FOLDER / "agent.db", drain_seconds=5, longest_pause=float(os.environ.get("LONGEST_PAUSE", "0.2")))


def kill_at(point: str) -> None:
    """Kill this process, as nothing else can, if this is its point."""
    if point == POINT and not (FOLDER / "killed").exists():
        (FOLDER / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def note(command: Command) -> None:
    """Write down that the handler of a command runs."""
    with (FOLDER / "runs").open("a") as file:
        file.write(f"{command.id}\n")


class KilledStorage(SqliteStorage):
    """A state file at whose commits the process can be killed."""

    def commit(self, writes: Sequence[Write]) -> None:
        """Commit, unless the process is killed before."""
        names = [name for name, kind in KINDS.items() if any(isinstance(write, kind) for write in writes)]
        for name in names:
            kill_at(f"before {name}")
        super().commit(writes)
        for name in names:
            kill_at(f"after {name}")


@agent.on("work")
async def work(command: Command) -> str:
    """Do something that must not be done twice."""
    note(command)
    kill_at("in the handler")
    return "done"


@agent.on("repeat", idempotent=True)
async def repeat(command: Command) -> str:
    """Do something that may be done twice."""
    note(command)
    kill_at("in the handler")
    return "done"


@agent.on("wait")
async def wait(command: Command) -> str:
    """Take a while."""
    note(command)
    await asyncio.sleep(command.payload["seconds"])
    return "done"


@agent.on("block")
async def block(command: Command) -> str:
    """Block the event loop of the handlers, which an async handler must not do."""
    note(command)
    time.sleep(command.payload["seconds"])  # noqa: ASYNC251 - the fault of this handler
    return "unblocked"


@agent.on("fork")
def fork(command: Command) -> str:
    """Return in two processes."""
    note(command)
    return "child" if os.fork() == 0 else "parent"


@agent.on("fork_async")
async def fork_async(command: Command) -> str:
    """Return in two processes, from the event loop."""
    note(command)
    return "child" if os.fork() == 0 else "parent"


@agent.on("count", concurrent=True)
async def count(_: Command) -> str:
    """Write down each of some steps, and the end."""
    with (FOLDER / "steps").open("a", buffering=1) as file:
        try:
            for step in range(20):
                file.write(f"{step}\n")
                await asyncio.sleep(0.05)
        finally:
            file.write("end\n")
    return "counted"


@agent.on("fork_and_wait")
async def fork_and_wait(command: Command) -> str:
    """Go on in two processes, after a wait."""
    note(command)
    pause = asyncio.ensure_future(asyncio.sleep(0.3))
    await asyncio.sleep(0.1)
    child = os.fork()
    await command.progress({"child": child})
    await pause
    return "child" if child == 0 else "parent"


@agent.on("fork_in_a_task")
async def fork_in_a_task(command: Command) -> str:
    """Fork in a task of the handler."""
    [result] = await asyncio.gather(fork_and_wait(command))
    return result


@agent.on("fork_and_stay")
async def fork_and_stay(command: Command) -> int:
    """Leave a child that works on without the agent."""
    note(command)
    child = os.fork()
    if child == 0:
        time.sleep(600)  # noqa: ASYNC251 - the child has no event loop
    return child


if __name__ == "__main__":
    with patch("command_dispatcher.agent.service_thread.SqliteStorage", KilledStorage):
        agent.run()
