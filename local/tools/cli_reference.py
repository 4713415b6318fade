"""The reference of the command line, written from its code."""

from collections.abc import Iterator
from typing import Any

import typer

from command_dispatcher.cli.app import build

HEAD = """# Reference of the command line

Written by `make generated` from the code. [The command line](../cli.md) explains it. Options that many commands have:
`-o, --output` (table, json, ndjson, id), `--context`, and `--limit` of lists (0 for all).
"""
COMMON = frozenset({"output", "context", "limit", "help"})


def render() -> str:
    """Write every command with its arguments and options."""
    parts = [HEAD]
    for name, command in commands():
        said = (command.help or "").strip()
        parts.append(f"\n## dispatcher {name}\n{_usage(name, command)}\n\n{_examples(said)}\n")
        options = [option for option in command.params if option.name not in COMMON and _is_option(option)]
        if options:
            rows = [f"| `{_names(option)}` | {option.help} |" for option in options]
            parts.append("\n".join(["\n| option | |", "|---|---|", *rows, ""]))
    return "".join(parts)


def commands() -> Iterator[tuple[str, Any]]:
    """Yield each command with its full name."""
    yield from _below("", typer.main.get_command(build()))


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    else:
        for word, each in inner.items():
            yield from _below(f"{name} {word}".strip(), each)


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _usage(name: str, command: Any) -> str:
    arguments = [each for each in command.params if not _is_option(each)]
    words = [each.metavar or each.name.upper() for each in arguments]
    return "`" + " ".join(["dispatcher", name, *words]) + "`"


def _examples(said: str) -> str:
    lines = [line.strip() for line in said.splitlines()]
    return "\n".join(f"`{line}`  " if line.startswith("dispatcher ") else line for line in lines)


def _names(option: Any) -> str:
    return ", ".join([*option.opts, *option.secondary_opts])
