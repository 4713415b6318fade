"""What a start loads: no AWS library ever, nothing slow for --version, --help and an agent."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

AWS = {"boto3", "botocore", "aws_lambda_powertools", "psycopg", "dispatcher"}
HTTP = {"httpx2", "httpcore2", "asyncio", "websockets"}
SLOW = HTTP | {"pydantic", "rich", "ssl"}


def _loaded(root: Path, code: str, **variables: str) -> set[str]:
    """Run code in a new process that finds only the client; return the packages and modules it loaded."""
    tail = (
        "\nimport json, sys\n"
        "print('\\n' + json.dumps([*{name.partition('.')[0] for name in sys.modules} | set(sys.modules)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + tail],
        env={"PYTHONPATH": str(root / "clients/python/src"), "PATH": "", "HOME": "/nowhere", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def _dispatcher(*arguments: str, terminal: bool = False) -> str:
    return (
        f"import sys; sys.argv = {['dispatcher', *arguments]!r}\n"
        f"{'sys.stdout.isatty = lambda: True' if terminal else ''}\n"
        "from command_dispatcher.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
    )


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import command_dispatcher", SLOW | {"typer", "sqlite3"}),
        (_dispatcher("--version"), SLOW | {"typer"}),
        (_dispatcher("--help"), SLOW),
        (_dispatcher("send", "--help"), SLOW),
        (_dispatcher("agents", "keys", "--help"), SLOW),
        (_dispatcher("no-such-command"), SLOW),
        (_dispatcher("context", "list"), SLOW),
        ("from command_dispatcher import Client", HTTP | {"rich", "typer"}),
        ("from command_dispatcher import Client, AsyncClient", {"rich", "typer", "websockets"}),
        ("from command_dispatcher import Agent, Retry, Reject", {"rich", "typer", "httpx2"}),
    ],
)
def test_a_start_loads_only_what_it_needs(root: Path, code: str, unwanted: set[str]) -> None:
    """So that the command line answers at once, and an agent stays small."""
    assert _loaded(root, code) & (unwanted | AWS) == set()


@pytest.mark.parametrize(
    "words",
    [
        ("agents", "list", "--presence", "online", "--limit", "7"),
        ("--output", "json", "commands", "list", "--status", "pending"),
        ("events", "--type", "command.failed"),
    ],
)
def test_a_command_that_asks_the_service_loads_no_more(
    root: Path, httpserver: HTTPServer, words: tuple[str, ...]
) -> None:
    """No second HTTP client, no event loop, no pydantic; `ssl` without certificates comes with the standard library."""
    answer: dict[str, Any] = {"agents": [], "commands": [], "events": [], "nextCursor": None, "after": "1"}

    loaded = _loaded_against(httpserver, answer, root, _dispatcher(*words))

    assert loaded & (SLOW - {"ssl"}) == set()


def test_a_table_in_a_terminal_loads_no_more(root: Path, httpserver: HTTPServer) -> None:
    """Rich, which draws what moves, takes as long as the rest of the command, and the models of the client a sixth."""
    agent = {"agentId": "edge-1", "presence": "online", "approval": "approved", "platform": "linux", "pendingCount": 0}
    answer: dict[str, Any] = {"agents": [{**agent, "labels": {}, "lastSeenAt": None}], "nextCursor": None}

    loaded = _loaded_against(httpserver, answer, root, _dispatcher("agents", "list", terminal=True))

    assert loaded & ({"command_dispatcher.client.models"} | SLOW - {"ssl"}) == set()


def _loaded_against(service: HTTPServer, answer: dict[str, Any], root: Path, code: str) -> set[str]:
    service.expect_request(re.compile(".*")).respond_with_json(answer)
    loaded = _loaded(root, code, DISPATCHER_URL=service.url_for("/"), DISPATCHER_TOKEN="t")
    assert len(service.log) == 1
    return loaded


def test_every_module_imports_no_aws_library(root: Path) -> None:
    """The distribution is for machines that know nothing of AWS."""
    source = root / "clients/python/src"
    modules = [".".join(path.relative_to(source).with_suffix("").parts) for path in source.rglob("*.py")]
    named = [name.removesuffix(".__init__") for name in modules if not name.endswith("__main__")]
    loaded = _loaded(root, "\n".join(f"import {name}" for name in named))
    assert loaded & AWS == set()
