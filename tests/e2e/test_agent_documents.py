"""The tutorial for authors of agents, the how-to page, the twenty lines of the README and the examples work as described."""

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


@pytest.fixture
def shell(tmp_path: Path, dispatcher: Dispatcher) -> dict[str, str]:
    """The environment of a shell in which the library is installed and an operator has logged in."""
    for name, command in {"dispatcher": "-m command_dispatcher", "python": ""}.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {command} "$@"\n')
        path.chmod(0o755)
    return {
        "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT / "clients/python/src"),
        "DISPATCHER_URL": dispatcher.url,
        "DISPATCHER_TOKEN": str(dispatcher.client().token),
    }


def _run(script: str, environment: dict[str, str], folder: Path) -> str:
    """Run a script in bash, end what it left in the background, and return what it wrote."""
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", f"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_tutorial_leads_from_a_clone_to_a_completed_command(
    dispatcher: Dispatcher, shell: dict[str, str], tmp_path: Path
) -> None:
    """Each step in one shell; only the installation is done already, and the password is not typed.

    The clone stays as it was.
    """
    script = blocks("docs/agents.md", "Your first agent")
    for line in (
        "make up\n",
        "python3 -m venv my-agent\n",
        "my-agent/bin/pip install ./clients/python\n",
        'export PATH="$PWD/my-agent/bin:$PATH"\n',
    ):
        assert line in script
        script = script.replace(line, "mkdir my-agent\n" if "venv" in line else "")
    script = script.replace("http://127.0.0.1:8000", dispatcher.url)
    script = script.replace("--username admin", f"--username admin --password-stdin <<< {PASSWORD}")
    del shell["DISPATCHER_URL"], shell["DISPATCHER_TOKEN"]

    before = set(tmp_path.iterdir())
    said = _run(script, shell, tmp_path)
    left = {path.name for path in set(tmp_path.iterdir()) - before}
    (tmp_path / "my-agent" / "test.py").write_text(_python("docs/agents.md", "Test it"))
    _run("python test.py", shell, tmp_path / "my-agent")

    assert "Hello Ada" in said
    assert "Hello Grace" in said
    assert left - {".config"} == {"my-agent"}
    assert "/my-agent/\n" in (ROOT / ".gitignore").read_text()


HOW_TO = (
    "Let machines register themselves",
    "Send to a part of the fleet, and wait",
    "Send later, or not at all",
    "Find out why a command does not end",
    "Stop a roll-out",
    "Repeat what failed",
    "Follow events from a program",
    "Change an agent's key",
    "Change a program's token",
)
BOTH_ARE_CONNECTED = """
until [ "$(dispatcher agents list --presence online --selector env=prod -o id | wc -l)" = 2 ]; do sleep 0.1; done
"""


def test_the_answers_of_the_how_to_page_work_one_after_the_other(
    dispatcher: Dispatcher, shell: dict[str, str], tmp_path: Path
) -> None:
    """In one shell; only where a person looks at a list until both agents are there, the test waits."""
    page = (ROOT / "docs/how-to.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == list(HOW_TO)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    first, *others = (blocks("docs/how-to.md", section) for section in HOW_TO)

    shell |= {"URL": dispatcher.url, "TOKEN": shell["DISPATCHER_TOKEN"]}
    said = _run("\n".join([first, BOTH_ARE_CONNECTED, *others]), shell, tmp_path)

    for expected in ("usedPercent", "has never connected", "cancel accepted", "redrive accepted", "command.completed"):
        assert expected in said
    program = [sys.executable, "-c", blocks("docs/how-to.md", "Follow events from a program", "python")]
    with subprocess.Popen(program, cwd=tmp_path, env=shell, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        first_line = following.stdout.readline()
        following.kill()
    assert re.match(r"\S+ cmd-\S+ command\.completed$", first_line)


@pytest.mark.parametrize(("example", "result"), [("Twenty lines", "lift-off"), ("Shell scripts", "usedPercent")])
def test_the_commands_of_an_example_work(
    dispatcher: Dispatcher, shell: dict[str, str], tmp_path: Path, example: str, result: str
) -> None:
    """Those of an agent that needs nothing but the machine."""
    agent_id = example.replace(" ", "-")
    key = dispatcher.client().post("/api/v1/agents", {"agentId": agent_id, "platform": "linux"})["apiKey"]
    shell |= {"AGENT_ID": agent_id, "AGENT_API_KEY": key, "AGENT_STATE": str(tmp_path / "agent.db")}

    assert result in _run(blocks("examples/README.md", example), shell, ROOT)


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
