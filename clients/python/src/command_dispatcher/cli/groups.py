"""Groups of commands: help as plain text, and options that may stand before the command."""

from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup

from command_dispatcher.cli.converting import convert_quickly

WHOLE = 200
"""Characters of a command's first sentence that a list of commands shows."""
EVERYWHERE = ("--context", "--output", "-o")
"""The options that may stand before the command as well as after it."""
_EARLIER = "command_dispatcher.options"


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options at the beginning that belong to the command, and the rest."""
    rest = list(words)
    options: list[str] = []
    while rest:
        name = next((name for name in EVERYWHERE if _is(rest[0], name)), None)
        if name is None or (rest[0] == name and len(rest) == 1):
            break
        count = 2 if rest[0] == name else 1
        options += rest[:count]
        del rest[:count]
    return options, rest


def _is(word: str, name: str) -> bool:
    return word == name or word.startswith(f"{name}=" if name.startswith("--") else name)


class Group(TyperGroup):
    """A group of commands, listed under headings; its help is there at once, and the same in a terminal and in a pipe."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the options that belong to the command."""
        options, rest = split(args)
        ctx.meta[_EARLIER] = [*ctx.meta.get(_EARLIER, []), *options]
        convert_quickly(self, ctx)
        return super().parse_args(ctx, rest)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, and give it the options that stood before it."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not isinstance(command, TyperGroup):
            rest = [*ctx.meta.pop(_EARLIER, []), *rest]
            convert_quickly(command, ctx)
        return name, command, rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands, each with its first sentence."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            heading = getattr(command, "rich_help_panel", None) or "Commands"
            if command is not None and not command.hidden:
                panels.setdefault(heading, []).append((name, command.get_short_help_str(WHOLE)))
        for heading, rows in panels.items():
            with formatter.section(heading):
                formatter.write_dl(rows)
