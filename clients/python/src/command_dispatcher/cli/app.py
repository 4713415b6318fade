"""The tree of commands; only the part that is used is loaded."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer

from command_dispatcher import __version__
from command_dispatcher.cli.groups import Group, split
from command_dispatcher.cli.options import ContextOption, Format, Output

WORK, FLEET, ACCESS, HERE = "Send and follow", "Agents and sessions", "Access", "This machine"


@dataclass(frozen=True, slots=True)
class Entry:
    """A command, or a group of commands, and where it is."""

    name: str
    module: str
    attribute: str
    panel: str
    """Under which heading --help shows it."""

    def add_to(self, app: typer.Typer) -> None:
        """Load it."""
        found = getattr(import_module(f"command_dispatcher.cli.{self.module}"), self.attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=self.name, cls=Group, rich_help_panel=self.panel)
        else:
            app.command(self.name, rich_help_panel=self.panel)(found)


ENTRIES = (
    Entry("send", "sending", "send", WORK),
    Entry("commands", "commands", "app", WORK),
    Entry("events", "events_commands", "events", WORK),
    Entry("webhooks", "webhooks", "app", WORK),
    Entry("overview", "overview", "overview", WORK),
    Entry("check", "checking", "check", WORK),
    Entry("agents", "agents", "app", FLEET),
    Entry("enrolment", "enrolment", "app", FLEET),
    Entry("sessions", "sessions", "app", FLEET),
    Entry("templates", "sessions", "templates", FLEET),
    Entry("operators", "operators", "app", ACCESS),
    Entry("tokens", "tokens", "app", ACCESS),
    Entry("audit", "operators", "audit", ACCESS),
    Entry("login", "contexts_commands", "login", HERE),
    Entry("logout", "contexts_commands", "logout", HERE),
    Entry("context", "contexts_commands", "app", HERE),
    Entry("agent", "agent_programs", "app", HERE),
    Entry("completion", "contexts_commands", "completion", HERE),
)


class Dispatcher(Group):
    """The command line itself; its help has the commands in the order of ENTRIES."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names: Typer would put what has commands of its own behind all others."""
        order = [entry.name for entry in ENTRIES]
        return sorted(super().list_commands(ctx), key=order.index)


COMPLETING = "_DISPATCHER_COMPLETE"
"""The variable with which a shell asks for completions."""


def build(words: Sequence[str] = ()) -> typer.Typer:
    """Make the command line: with the command that the first word names, or with all."""
    app = typer.Typer(
        name="dispatcher",
        cls=Dispatcher,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,  # Rich takes longer to load than help takes to read
        add_completion=COMPLETING in os.environ,
        epilog="Exit codes: 0 completed, 1 failed, 2 usage, 3 not found, 4 denied, 5 gave up waiting.",
    )
    app.callback()(_dispatcher)
    _, rest = split(words)
    named = [entry for entry in ENTRIES if entry.name in rest[:1]]
    for entry in named or ENTRIES:
        entry.add_to(app)
    return app


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer passes it so
    if wanted:
        typer.echo(f"dispatcher {__version__}")
        raise typer.Exit


def _dispatcher(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Command agents that are often offline: a command waits until its agent is back."""
    del version, output, context  # the command gets them (see Group)
