"""The tutorial for authors of agents, the twenty lines of the README and the examples work as described."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from command_dispatcher import testing
from command_dispatcher.agent.executables import agent_of
from tests.e2e.dispatcher_process import PASSWORD, ROOT, Dispatcher
from tests.e2e.test_readme import blocks


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the tests."""
    return "asyncio"


def test_the_tutorial_leads_from_a_clone_to_a_completed_command(dispatcher: Dispatcher, tmp_path: Path) -> None:
    """Each step in one shell; only the installation is done already, and the password is not typed."""
    script = blocks("docs/agents.md", "Your first agent")
    install = (
        'python3 -m venv my-agent\nmy-agent/bin/pip install ./clients/python\nexport PATH="$PWD/my-agent/bin:$PATH"\n'
    )
    assert script.startswith((f"make up\n\n{install}", f"make up\n{install}"))
    script = script.replace("make up\n", "").replace(install, "").replace("http://127.0.0.1:8000", dispatcher.url)
    script = script.replace("--username admin", f"--username admin --password-stdin <<< {PASSWORD}")
    for name, command in {"dispatcher": "-m command_dispatcher", "python": ""}.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {command} "$@"\n')
        path.chmod(0o755)

    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", f"trap 'kill $(jobs -p)' EXIT\n{script}"],
        cwd=tmp_path,
        env={
            "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT / "clients/python/src"),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    said = done.stdout + done.stderr

    assert done.returncode == 0, said
    assert "Hello Ada" in said
    assert "Hello Grace" in said
    test = subprocess.run(
        [sys.executable, "-c", _python("docs/agents.md", "Test it")],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "clients/python/src"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert test.returncode == 0, test.stderr


def _python(document: str, heading: str) -> str:
    text = (ROOT / document).read_text(encoding="utf-8")
    section = re.split(rf"^## {re.escape(heading)}$", text, flags=re.MULTILINE)[1].split("\n## ")[0]
    return "\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))


@pytest.mark.anyio
async def test_the_twenty_lines_of_the_readme_do_what_they_say() -> None:
    """The example is the same program with types."""
    lines = _python("README.md", "An agent in twenty lines")
    names: dict[str, Any] = {"__name__": "read_me"}
    exec(compile(lines, "README.md", "exec"), names)  # noqa: S102 - the code of the document is what is tested
    example = (ROOT / "examples/twenty_lines/agent.py").read_text(encoding="utf-8")

    async with testing.Service(names["agent"]) as service:
        disk = await service.deliver("disk").ended()
        countdown = service.deliver("countdown", {"seconds": 20})
        await service.advance(25)

    assert 0 <= disk.result["usedPercent"] <= 100
    assert (countdown.result, countdown.progress[0]) == ("lift-off", {"secondsLeft": 20})
    body = [line.strip() for line in lines.splitlines() if line.startswith("    ")]
    assert [line for line in body if line not in example] == []


@pytest.mark.anyio
async def test_the_shell_scripts_are_actions() -> None:
    """A bad name never reaches systemctl."""
    async with testing.Service(agent_of(ROOT / "examples/shell_scripts/actions")) as service:
        disk = await service.deliver("disk").ended()
        restart = await service.deliver("restart", {"service": "web; reboot"}).ended()

    assert 0 <= disk.result["usedPercent"] <= 100
    assert restart.error == "no such service: web; reboot"
