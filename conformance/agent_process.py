"""The agent under test as a process: started from a command line, ended with everything that it started."""

import asyncio
import contextlib
import os
import shlex
import signal
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Mapping
from pathlib import Path


class NotStartedError(Exception):
    """The agent's command could not be started."""


class AgentProcess:
    """One agent, which can be started several times; its command may contain {url}, {id}, {key} and {dir}."""

    def __init__(self, command: str, placeholders: Mapping[str, str], output: Path) -> None:
        self._command, self._placeholders, self._output = command, placeholders, output
        self._process: Process | None = None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.returncode if self._process is not None else None

    async def start(self) -> None:
        """Start it in its own process group; raises NotStartedError."""
        variables = {
            "DISPATCHER_URL": "{url}",
            "AGENT_ID": "{id}",
            "AGENT_API_KEY": "{key}",
            "AGENT_STATE": "{dir}/agent.db",
        }
        with self._output.open("ab") as output:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *(self._fill(argument) for argument in shlex.split(self._command)),
                    env={**os.environ, **{name: self._fill(value) for name, value in variables.items()}},
                    stdin=DEVNULL,
                    stdout=output,
                    stderr=STDOUT,
                    start_new_session=True,
                )
            except (OSError, TypeError, ValueError) as error:
                raise NotStartedError(f"The agent does not start: {error}") from None

    async def terminate(self, seconds: float) -> bool:
        """Send SIGTERM; return whether the process ended in time."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), seconds)
            except TimeoutError:
                return False
        return True

    async def kill(self) -> None:
        """Kill the process and what is left of its group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    def last_output(self) -> str:
        """Return the last lines that it printed."""
        lines = self._output.read_text(errors="replace").splitlines() if self._output.exists() else []
        return "\n".join(line[:200] for line in lines[-6:])

    def _fill(self, argument: str) -> str:
        for name, value in self._placeholders.items():
            argument = argument.replace(f"{{{name}}}", value)
        return argument
