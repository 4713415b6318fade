"""Completion in real shells, each in a terminal of its own: commands, and ids from the service."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.command_line import CommandLine
from tests.e2e.dispatcher_process import PASSWORD, Dispatcher

BASH = """
source "$1"
COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
_dispatcher_completion dispatcher
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = """
source $argv[1]
complete -C "$argv[2..]"
"""
# zsh completes only in its line editor: what would show the completions there prints them here.
ZSH = """
autoload -Uz compinit && compinit -D -u
source "$1"
_arguments() { print -rl -- "$@" }
_files() { }
words=("${@:2}") CURRENT=$(($# - 1))
_dispatcher_completion
"""
SHELLS = {"bash": (BASH, ("bash", "--norc")), "zsh": (ZSH, ("zsh", "-f")), "fish": (FISH, ("fish", "--no-config"))}


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dispatcher: Dispatcher
) -> CommandLine:
    """The command line of an admin, also as the program `dispatcher`."""
    made = CommandLine(tmp_path, monkeypatch, capsys)
    made.ok(
        "login",
        "--username",
        "admin",
        "--password-stdin",
        "--url",
        dispatcher.url,
        "--context",
        "here",
        stdin=f"{PASSWORD}\n",
    )
    program = tmp_path / "bin" / "dispatcher"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m command_dispatcher "$@"\n')
    program.chmod(0o755)
    return made


Complete = Callable[..., str]


@pytest.fixture(params=sorted(SHELLS))
def complete(request: pytest.FixtureRequest, cli: CommandLine) -> Complete:
    """Complete the last of some words in one of the shells; returns what it offers."""
    script, command = SHELLS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    completion = cli.home / "completion"
    completion.write_text(cli.ok("completion", request.param).out)
    environment = cli.environment()
    environment["PATH"] = f"{cli.home / 'bin'}:{environment['PATH']}"

    def run(*words: str) -> str:
        line = [" ".join(words)] if command[0] == "fish" else words
        name = [] if command[0] == "fish" else [command[0]]
        done = subprocess.run(
            [*command, "-c", script, *name, str(completion), *line],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.stdout

    return run


def test_a_shell_completes_commands_and_ids(cli: CommandLine, complete: Complete) -> None:
    """Of agents, commands and contexts; also after an option that stands before the command."""
    agent = f"completed-{cli.home.name.strip('0123456789')[-8:]}".replace("_", "-")
    cli("agents", "create", agent, "--platform", "linux")
    command = cli.ok("send", agent, "restart", "-o", "id").out.strip()

    assert "redrive" in complete("dispatcher", "commands", "re")
    assert agent in complete("dispatcher", "agents", "show", agent[:6])
    assert agent in complete("dispatcher", "--context", "here", "agents", "why", agent[:6])
    assert command in complete("dispatcher", "commands", "why", command[:8])
    assert "here" in complete("dispatcher", "context", "use", "he")


def test_a_service_that_does_not_answer_disturbs_nobody(cli: CommandLine, complete: Complete) -> None:
    """Nothing is offered, and nothing is said."""
    cli.ok("context", "list")
    (cli.home / "dispatcher" / "contexts.json").write_text("no JSON")

    offered = complete("dispatcher", "agents", "show", "completed-")

    assert "completed" not in offered
