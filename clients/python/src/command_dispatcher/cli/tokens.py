"""The commands about API tokens."""

from typing import Annotated, Literal

import typer

from command_dispatcher.cli import columns
from command_dispatcher.cli.asking import confirm
from command_dispatcher.cli.connection import connected
from command_dispatcher.cli.options import DEFAULT_LIMIT, ContextOption, Format, Limit, Output, Yes
from command_dispatcher.cli.output import show_list, show_one
from command_dispatcher.cli.stopping import say, usage
from command_dispatcher.cli.values import seconds_from

app = typer.Typer(help="Your API tokens, for programs.", no_args_is_help=True)


@app.command("list")
def list_tokens(limit: Limit = DEFAULT_LIMIT, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """List your valid API tokens."""
    with connected(context) as client:
        show_list(
            lambda size, cursor: client.tokens.list(limit=size, cursor=cursor),
            columns.TOKENS,
            output,
            limit,
            "dispatcher tokens create ci --role sender",
        )


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    role: Annotated[Literal["reader", "sender", "admin"], typer.Option(help="At most your own.")],
    ttl: Annotated[str, typer.Option("--ttl", help="How long it is valid.")] = "90d",
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Create an API token and show it, once."""
    try:
        seconds = seconds_from(ttl)
    except ValueError as error:
        raise usage(str(error)) from None
    with connected(context) as client:
        show_one(client.tokens.create(name=name, role=role, ttl_seconds=seconds).raw, columns.NEW_TOKEN, output)
        say("Save the token: it is shown only now.")


@app.command("revoke")
def revoke(token: str, yes: Yes = False, context: ContextOption = None) -> None:
    """Revoke an API token by its id."""
    with connected(context) as client:
        confirm(f"Revoke the token {token}?", yes=yes)
        client.tokens.revoke(token)
        say(f"The token {token} is revoked.")
