"""The commands of docs/cli.md and of the README's part about the command line work as described."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_dispatcher.cli.app import ENTRIES
from tests.e2e.conftest import Agent
from tests.e2e.dispatcher_process import PASSWORD, ROOT, Dispatcher
from tests.e2e.test_readme import blocks

SECTIONS = (
    "Log in",
    "Agents",
    "Send commands",
    "Find out what happens",
    "Stop and repeat",
    "Output and exit codes",
    "Everything else",
)
DISPATCHER = f"""#!/bin/sh
exec {sys.executable} -m command_dispatcher "$@"
"""


@pytest.fixture
def shell(tmp_path: Path, dispatcher: Dispatcher) -> dict[str, str]:
    """The environment of a shell with `dispatcher` on its path."""
    script = tmp_path / "bin" / "dispatcher"
    script.parent.mkdir()
    script.write_text(DISPATCHER)
    script.chmod(0o755)
    return {
        "PATH": f"{script.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT / "clients/python/src"),
        "URL": dispatcher.url,
        "PASSWORD": PASSWORD,
    }


@pytest.fixture
def my_agent(dispatcher: Dispatcher) -> Iterator[Agent]:
    """The README's agent, connected."""
    key = dispatcher.client().post("/api/v1/agents", {"agentId": "my-agent", "platform": "kubernetes"})["apiKey"]
    agent = Agent(dispatcher.url, "my-agent", key)
    yield agent
    agent.close()


def _run(script: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_commands_of_the_page_work_one_after_the_other(
    shell: dict[str, str], dispatcher: Dispatcher, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one shell, as they stand there, and then the Python."""
    said = _run("\n".join(blocks("docs/cli.md", section) for section in SECTIONS), shell)
    for expected in ("API key", "has never connected", "pending", "cancelled", "AGENTS"):
        assert expected in said
    exec(blocks("docs/cli.md", "From Python", "python"), {"url": dispatcher.url, "token": dispatcher.client().token})  # noqa: S102
    assert "has never connected" in capsys.readouterr().out


def test_the_commands_of_the_readme_work_one_after_the_other(shell: dict[str, str], my_agent: Agent) -> None:
    """With the password from stdin, where a person is asked."""
    script = blocks("README.md", "Drive it from a shell").replace("http://127.0.0.1:8000", shell["URL"])
    said = _run(script.replace("--username admin", '--username admin --password-stdin <<< "$PASSWORD"'), shell)
    assert "completed" in said
    assert len(my_agent.commands) == 1


def test_the_page_names_every_command() -> None:
    """A command that nobody can read about does not exist."""
    page = (ROOT / "docs/cli.md").read_text()
    assert [entry.name for entry in ENTRIES if f"dispatcher {entry.name}" not in page] == []
