"""The tree of commands."""

from typing import Annotated

import typer

from command_dispatcher import __version__
from command_dispatcher.cli import (
    agent_programs,
    agents,
    checking,
    commands,
    contexts_commands,
    enrolment,
    events_commands,
    operators,
    overview,
    sending,
    sessions,
    tokens,
    webhooks,
)

app = typer.Typer(
    name="dispatcher",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    epilog="Exit codes: 0 completed, 1 failed, 2 usage, 3 not found, 4 denied, 5 gave up waiting.",
)
WORK, FLEET, ACCESS, HERE = "Send and follow", "Agents and sessions", "Access", "This machine"
app.command("send", rich_help_panel=WORK)(sending.send)
app.add_typer(commands.app, name="commands", rich_help_panel=WORK)
app.command("events", rich_help_panel=WORK)(events_commands.events)
app.add_typer(webhooks.app, name="webhooks", rich_help_panel=WORK)
app.command("overview", rich_help_panel=WORK)(overview.overview)
app.command("check", rich_help_panel=WORK)(checking.check)
app.add_typer(agents.app, name="agents", rich_help_panel=FLEET)
app.add_typer(enrolment.app, name="enrolment", rich_help_panel=FLEET)
app.add_typer(sessions.app, name="sessions", rich_help_panel=FLEET)
app.add_typer(sessions.templates, name="templates", rich_help_panel=FLEET)
app.add_typer(operators.app, name="operators", rich_help_panel=ACCESS)
app.add_typer(tokens.app, name="tokens", rich_help_panel=ACCESS)
app.command("audit", rich_help_panel=ACCESS)(operators.audit)
app.command("login", rich_help_panel=HERE)(contexts_commands.login)
app.command("logout", rich_help_panel=HERE)(contexts_commands.logout)
app.add_typer(contexts_commands.app, name="context", rich_help_panel=HERE)
app.add_typer(agent_programs.app, name="agent", rich_help_panel=HERE)
app.command("completion", rich_help_panel=HERE)(contexts_commands.completion)


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer passes it so
    if wanted:
        typer.echo(f"dispatcher {__version__}")
        raise typer.Exit


@app.callback()
def dispatcher(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Command agents that are often offline: a command waits until its agent is back."""
    del version
