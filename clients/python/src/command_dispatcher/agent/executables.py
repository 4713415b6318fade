"""`dispatcher agent exec DIR`: one executable for each action, in any language.

The executable gets its command as JSON on standard input, and writes its result as JSON to standard output.  Exit code 0:
complete; 75 (EX_TEMPFAIL): failed, to be executed again; any other: failed, with the end of standard error as the reason.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Collection
from pathlib import Path
from typing import Any

from .agent import Agent
from .command import Command
from .errors import AgentError, Reject, Retry
from .messages import BODY_BYTES

TRY_AGAIN = 75
"""EX_TEMPFAIL of sysexits.h."""
STOP_SECONDS = 10.0
"""How long a process has between SIGTERM and SIGKILL."""
_TAIL_BYTES = 2000
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""An action comes from outside and becomes the name of a file."""


def run(
    directory: str | os.PathLike[str],
    *,
    idempotent: Collection[str] = (),
    stop_seconds: float = STOP_SECONDS,
    **settings: Any,
) -> int:
    """Run an agent whose actions are the executables of a folder, until a signal ends it; return the exit code.

    `idempotent` names the actions that are executed again if the agent ended while they ran; `settings` are those of `Agent`.
    """
    try:
        agent = agent_of(directory, idempotent=idempotent, stop_seconds=stop_seconds, **settings)
    except AgentError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    agent.run()
    return 0


def agent_of(
    directory: str | os.PathLike[str],
    *,
    idempotent: Collection[str] = (),
    stop_seconds: float = STOP_SECONDS,
    **settings: Any,
) -> Agent:
    """Make the agent of `run`; raises AgentError if there is no such folder."""
    folder = Path(directory).resolve()
    if not folder.is_dir():
        raise AgentError(f"There is no folder {folder}.")
    agent = Agent(**settings)

    async def execute(command: Command) -> Any:
        return await _execute(_find(folder, command.action), command, stop_seconds)

    # An executable that is added later is found when its first command comes.
    agent.on("*")(execute)
    for action in sorted({*idempotent, *_actions(folder)}):
        agent.on(action, idempotent=action in idempotent)(execute)
    return agent


def _actions(folder: Path) -> list[str]:
    return [path.stem for path in sorted(folder.iterdir()) if _is_executable(path) and _SAFE.fullmatch(path.stem)]


def _find(folder: Path, action: str) -> Path:
    """Return the executable of an action: a file of its name, with any extension or none; raises Reject."""
    if _SAFE.fullmatch(action):
        found = [path for path in sorted(folder.iterdir()) if action in {path.name, path.stem} and _is_executable(path)]
        if found:
            return found[0]
    raise Reject(f"unknown action: {action}")


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


async def _execute(path: Path, command: Command, stop_seconds: float) -> Any:
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            path,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=path.parent,
            start_new_session=True,
            env={**os.environ, "COMMAND_ID": command.id, "COMMAND_ATTEMPT": str(command.attempt)},
        )
    )
    try:
        # A start that is cancelled would leave what the process has started already.
        process = await asyncio.shield(starting)
        output, errors = await process.communicate(_input(command))
    except OSError as error:
        raise Reject(f"{path.name} cannot be started: {error}") from error
    except asyncio.CancelledError:
        await asyncio.shield(_stop(await starting, stop_seconds))
        raise
    code = process.returncode
    if code == TRY_AGAIN:
        raise Retry(_tail(errors))
    if code != 0:
        raise Reject(_tail(errors) or f"exit code {code}")
    return _result(output)


def _input(command: Command) -> bytes:
    fields = {
        "commandId": command.id,
        "attempt": command.attempt,
        "action": command.action,
        "sessionId": command.session_id,
        "payload": command.payload,
        "resumed": command.resumed,
    }
    return json.dumps(fields).encode()


async def _stop(process: Process, seconds: float) -> None:
    """End the process and everything that it started: first by SIGTERM, then by SIGKILL."""
    _signal(process, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), seconds)
    _signal(process, signal.SIGKILL)
    await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _result(output: bytes) -> Any:
    text = output.decode(errors="replace").strip()
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text[-BODY_BYTES // 8 :]  # no JSON: the end of the text is the result


def _tail(errors: bytes) -> str:
    return errors[-_TAIL_BYTES:].decode(errors="replace").strip()
