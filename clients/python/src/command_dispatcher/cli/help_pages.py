"""Help as plain text: it is there at once, and the same in a terminal and in a pipe."""

from typing import Any

from typer.core import TyperGroup

WHOLE = 200
"""Characters of a command's first sentence that a list of commands shows."""


class Group(TyperGroup):
    """A group of commands, listed under headings."""

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

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option --help; with a default that Typer need not convert, which would load pydantic."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option
