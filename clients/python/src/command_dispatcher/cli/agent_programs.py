"""`dispatcher agent`: run an agent of your own."""

from pathlib import Path
from typing import Annotated

import typer

from command_dispatcher.cli.stopping import Exit, Stop, usage

app = typer.Typer(
    help="Run an agent here.",
    epilog="Settings: DISPATCHER_URL, AGENT_ID, AGENT_API_KEY or AGENT_ENROLMENT_TOKEN, AGENT_STATE.",
    no_args_is_help=True,
)


@app.command("run")
def run(
    spec: Annotated[str, typer.Argument(metavar="MODULE:AGENT", help="Where the agent is, for example fleet:agent.")],
) -> None:
    """Run the agent of a Python module until SIGTERM; commands under way are finished."""
    from command_dispatcher.agent import runner

    module, colon, name = spec.partition(":")
    if not (module and colon and name):
        raise usage(f"{spec!r} does not name an agent.", "dispatcher agent run fleet:agent")
    raise typer.Exit(runner.run(spec))


@app.command("exec")
def execute(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="One executable file for each action.")],
) -> None:
    """Run the executables of a folder as an agent: the payload comes on stdin, the result goes to stdout, as JSON."""
    from command_dispatcher.agent import executables

    if not folder.is_dir():
        raise Stop(Exit.USAGE, f"{folder} is not a folder.")
    raise typer.Exit(executables.run(folder))
