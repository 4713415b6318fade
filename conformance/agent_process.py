"""The author's agent, as a process: started with its surroundings, and ended with all that it started."""

import asyncio
import contextlib
import os
import shlex
import signal
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Mapping
from pathlib import Path

from conformance.notifier import Bell


class NotStartedError(Exception):
    """The command does not start."""


class AgentProcess:
    """One run of the agent; what it prints is kept in the file."""

    def __init__(self, command: str, places: Mapping[str, str], output: Path, bell: Bell) -> None:
        """Replace {url}, {id}, {key} and {dir} in the command by what they stand for."""
        self._command, self._places = command, places
        named = {"DISPATCHER_URL": "url", "AGENT_ID": "id", "AGENT_API_KEY": "key"}
        self._environment = {**os.environ, **{name: places[place] for name, place in named.items()}}
        self._output = output
        self._bell = bell
        self._process: Process | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.returncode if self._process is not None else None

    async def start(self) -> None:
        """Start it in a process group of its own; NotStartedError when that is no command, or there is no such program."""
        with self._output.open("ab") as output:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *(_fill(part, self._places) for part in shlex.split(self._command)),
                    env=self._environment,
                    stdin=DEVNULL,
                    stdout=output,
                    stderr=STDOUT,
                    start_new_session=True,
                )
            except (OSError, TypeError, ValueError) as error:
                raise NotStartedError(f"The agent does not start: {error}") from None
        self._watch = asyncio.create_task(self._ring_at_end(self._process))

    async def terminate(self, seconds: float) -> bool:
        """Ask it to end, as an init system does; return whether it did so in time."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                async with asyncio.timeout(seconds):
                    await self._process.wait()
            except TimeoutError:
                return False
        return True

    async def kill(self) -> None:
        """End it and what is left of its group, at once."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        if self._watch is not None:
            await self._watch

    def last_words(self) -> str:
        """Return the end of what it printed."""
        lines = self._output.read_text(errors="replace").splitlines() if self._output.exists() else []
        return "\n".join(line[:200] for line in lines[-6:])

    async def _ring_at_end(self, process: Process) -> None:
        await process.wait()
        self._bell.ring()


def _fill(part: str, places: Mapping[str, str]) -> str:
    for name, value in places.items():
        part = part.replace(f"{{{name}}}", value)
    return part
