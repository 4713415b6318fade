"""`dispatcher agent`: run an agent of your own."""

from pathlib import Path
from typing import Annotated, Any

import typer

from command_dispatcher.cli.stopping import usage

SETTINGS = "Settings: DISPATCHER_URL, AGENT_ID, AGENT_API_KEY or AGENT_ENROLMENT_TOKEN, AGENT_STATE."

app = typer.Typer(help="Run an agent here.", epilog=SETTINGS, no_args_is_help=True)


@app.command("run", epilog=SETTINGS)
def run(
    spec: Annotated[str, typer.Argument(metavar="MODULE:AGENT", help="Where the agent is, for example fleet:agent.")],
) -> None:
    """Run the agent of a Python module until SIGTERM; commands under way are finished."""
    from command_dispatcher.agent.runner import run as run_agent

    raise typer.Exit(run_agent(spec))


@app.command("exec", epilog=SETTINGS)
def execute(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="One executable file for each action.")],
    idempotent: Annotated[
        list[str] | None,
        typer.Option(
            "--idempotent", help="An action that may run again if the agent ended meanwhile; may be repeated."
        ),
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="Default: DISPATCHER_URL.")] = None,
    agent_id: Annotated[str | None, typer.Option("--id", help="Default: AGENT_ID.")] = None,
    state: Annotated[Path | None, typer.Option("--state", help="The agent's file. Default: AGENT_STATE.")] = None,
) -> None:
    """Run the executables of a folder as an agent, until SIGTERM.

    Each gets its command as JSON on stdin, and writes its result as JSON to stdout. Exit code 0: complete; 75: failed, to
    be tried again; any other: failed, with the end of stderr as the reason.
    """
    from command_dispatcher.agent.executables import run as run_executables

    if not folder.is_dir():
        raise usage(f"{folder} is not a folder.")
    settings: dict[str, Any] = {"url": url, "agent_id": agent_id, "state": state}
    raise typer.Exit(run_executables(folder, idempotent=idempotent or (), **settings))
