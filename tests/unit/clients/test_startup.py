"""What a start loads: no AWS library ever, nothing slow for --version, --help and an agent."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

AWS = {"boto3", "botocore", "aws_lambda_powertools", "psycopg", "dispatcher"}
SLOW = {"httpx2", "httpcore2", "pydantic", "websockets", "asyncio", "ssl"}
PARSING = {"pydantic"}
"""What Typer reads options with."""
CPU_SECONDS = 2.0
"""On a busy machine; a quiet one needs a tenth of it."""


def _loaded(root: Path, code: str) -> tuple[set[str], float]:
    """Run code in a new process that finds only the client; return the packages it loaded, and its CPU seconds."""
    tail = (
        "\nimport json, sys, time\n"
        "print('\\n' + json.dumps([sorted({name.partition('.')[0] for name in sys.modules}), time.process_time()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + tail],
        env={"PYTHONPATH": str(root / "clients/python/src"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    names, seconds = json.loads(done.stdout.splitlines()[-1])
    return set(names), seconds


def _dispatcher(*arguments: str) -> str:
    return (
        f"import sys; sys.argv = {['dispatcher', *arguments]!r}\n"
        "from command_dispatcher.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
    )


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import command_dispatcher", SLOW | {"rich", "typer", "sqlite3"}),
        (_dispatcher("--version"), SLOW | {"rich", "typer"}),
        (_dispatcher("--help"), SLOW | {"rich"}),
        (_dispatcher("send", "--help"), SLOW | {"rich"}),
        (_dispatcher("agents", "keys", "--help"), SLOW | {"rich"}),
        (_dispatcher("no-such-command"), SLOW | {"rich"}),
        (_dispatcher("context", "list"), SLOW - PARSING),
        ("from command_dispatcher import Client, AsyncClient", {"rich", "typer", "websockets"}),
        ("from command_dispatcher import Agent, Retry, Reject", {"rich", "typer", "httpx2"}),
    ],
)
def test_a_start_loads_only_what_it_needs(root: Path, code: str, unwanted: set[str]) -> None:
    """So that the command line answers at once, and an agent stays small."""
    loaded, seconds = _loaded(root, code)
    assert loaded & (unwanted | AWS) == set()
    assert seconds < CPU_SECONDS


def test_every_module_imports_no_aws_library(root: Path) -> None:
    """The distribution is for machines that know nothing of AWS."""
    source = root / "clients/python/src"
    modules = [".".join(path.relative_to(source).with_suffix("").parts) for path in source.rglob("*.py")]
    named = [name.removesuffix(".__init__") for name in modules if not name.endswith("__main__")]
    loaded, _ = _loaded(root, "\n".join(f"import {name}" for name in named))
    assert loaded & AWS == set()
