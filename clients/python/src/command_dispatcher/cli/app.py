"""The tree of commands."""

from typing import Annotated

import typer

from command_dispatcher import __version__
from command_dispatcher.cli import (
    agent_programs,
    agents,
    commands,
    contexts_commands,
    enrolment,
    events_commands,
    operators,
    overview,
    sending,
    sessions,
    tokens,
)

app = typer.Typer(
    name="dispatcher",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    epilog="Exit codes: 0 completed, 1 failed, 2 usage, 3 not found, 4 denied, 5 gave up waiting.",
)
app.command("login")(contexts_commands.login)
app.command("logout")(contexts_commands.logout)
app.command("send")(sending.send)
app.command("overview")(overview.overview)
app.command("events")(events_commands.events)
app.command("audit")(operators.audit)
app.command("completion")(contexts_commands.completion)
app.add_typer(agents.app, name="agents")
app.add_typer(commands.app, name="commands")
app.add_typer(sessions.app, name="sessions")
app.add_typer(sessions.templates, name="templates")
app.add_typer(operators.app, name="operators")
app.add_typer(tokens.app, name="tokens")
app.add_typer(enrolment.app, name="enrolment")
app.add_typer(contexts_commands.app, name="context")
app.add_typer(agent_programs.app, name="agent")


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
