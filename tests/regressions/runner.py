"""Runs pytest again and again, each time in a process that has imported every library already, and nothing of ours.

Two thirds of the time of one test go into importing libraries.  This process imports them once; for each line of JSON on its
standard input it forks, and the fork runs pytest on whatever the files of this repository say by then.
"""

import contextlib
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

LIBRARIES = (
    "argon2",
    "aws_lambda_powertools",
    "aws_lambda_powertools.event_handler.openapi.models",
    "aws_lambda_powertools.event_handler.openapi.params",
    "boto3.session",
    "botocore.session",
    "cryptography.hazmat.primitives.asymmetric.rsa",
    "http.server",
    "hypothesis.strategies",
    "jwt.algorithms",
    "psutil",
    "psycopg.types.json",
    "pydantic",
)
# Only what the tests of the layer and of the functions need: every other plugin costs time in every run.
PLUGINS = ("-p", "pytest_timeout")
TIMED_OUT = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run to make."""

    arguments: Sequence[str]
    output: str
    """The file that gets what pytest says."""
    seconds: float
    """After which the run is killed."""
    keep_bytecode: bool
    """Whether what is compiled is kept; not where the code is mutated."""

    def as_line(self) -> bytes:
        """Return what the runner reads."""
        return json.dumps(asdict(self)).encode() + b"\n"


def main() -> None:
    """Serve until the input ends: a line of JSON in, pytest's exit code out."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin.buffer:
        run = Run(**json.loads(line))
        process = os.fork()
        if process == 0:
            _become_pytest(run)
        sys.stdout.write(f"{_wait(process, run.seconds)}\n")
        sys.stdout.flush()


def _become_pytest(run: Run) -> None:
    """Run pytest, and end this fork without anything of its parent's end."""
    sys.dont_write_bytecode = not run.keep_bytecode
    code = int(pytest.ExitCode.INTERNAL_ERROR)
    output = Path(run.output).open("w", buffering=1)  # noqa: SIM115 - it ends with the process
    try:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = int(pytest.main([*PLUGINS, *run.arguments]))
    except BaseException:  # noqa: BLE001 - whatever it is, it must not come back as a second runner
        traceback.print_exc(file=output)
    finally:
        output.flush()
        os._exit(code)


def _wait(process: int, seconds: float) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(process, 9)
    os.waitpid(process, 0)
    return TIMED_OUT


if __name__ == "__main__":
    main()
