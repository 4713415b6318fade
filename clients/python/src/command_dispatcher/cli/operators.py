"""The commands about operators, and the audit log."""

from typing import Annotated, Literal

import typer

from command_dispatcher.cli import columns
from command_dispatcher.cli.asking import confirm, secret
from command_dispatcher.cli.connection import connected
from command_dispatcher.cli.options import DEFAULT_LIMIT, ContextOption, Format, Label, Limit, Output, Yes
from command_dispatcher.cli.output import show_list, show_one
from command_dispatcher.cli.stopping import say, usage
from command_dispatcher.cli.values import labels_from

app = typer.Typer(help="Who may use the service.", no_args_is_help=True)


@app.command("list")
def list_operators(limit: Limit = DEFAULT_LIMIT, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """List the operators with an account here."""
    with connected(context) as client:
        show_list(
            lambda size, cursor: client.operators.list(limit=size, cursor=cursor), columns.OPERATORS, output, limit
        )


@app.command("put")
def put(
    username: str,
    role: Annotated[Literal["reader", "sender", "admin"], typer.Option(help="Each may do what the one before may.")],
    label: Label = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Create or change an operator; labels limit them to the agents that carry all of these."""
    from command_dispatcher.client import UNSET

    try:
        limit = labels_from(label) if label else UNSET
    except ValueError as error:
        raise usage(str(error)) from None
    password = secret("New password", from_stdin=password_stdin, option="--password-stdin")
    with connected(context) as client:
        show_one(
            client.operators.put(username, password=password, role=role, labels=limit).raw, columns.OPERATORS, output
        )


@app.command("disable")
def disable(username: str, yes: Yes = False, context: ContextOption = None) -> None:
    """Disable an operator: their password and tokens no longer work."""
    with connected(context) as client:
        confirm(f"Disable the operator {username}?", yes=yes)
        client.operators.disable(username)
        say(f"The operator {username} is disabled.")


def audit(
    agent: Annotated[str | None, typer.Option("--agent", help="Only entries about this agent.")] = None,
    command: Annotated[str | None, typer.Option("--command", help="Only entries about this command.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Who did it.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Read the audit log, newest first: who did what."""
    with connected(context) as client:
        show_list(
            lambda size, cursor: client.audit.list(
                agent_id=agent, command_id=command, actor=actor, limit=size, cursor=cursor
            ),
            columns.AUDIT,
            output,
            limit,
        )
