"""The commands about enrolment tokens."""

from typing import Annotated

import typer

from command_dispatcher.cli import columns
from command_dispatcher.cli.asking import confirm
from command_dispatcher.cli.connection import connected
from command_dispatcher.cli.options import DEFAULT_LIMIT, ContextOption, Format, Label, Limit, Output, Yes
from command_dispatcher.cli.output import show_list, show_one
from command_dispatcher.cli.stopping import say, usage
from command_dispatcher.cli.values import labels_from, seconds_from

app = typer.Typer(help="Tokens with which new agents register themselves.", no_args_is_help=True)


@app.command("list")
def list_tokens(limit: Limit = DEFAULT_LIMIT, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """List the valid enrolment tokens."""
    with connected(context) as client:
        show_list(
            lambda size, cursor: client.enrolment_tokens.list(limit=size, cursor=cursor),
            columns.ENROLMENT_TOKENS,
            output,
            limit,
            "dispatcher enrolment create --prefix edge- --uses 10",
        )


@app.command("show")
def show(token: str, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """Show an enrolment token by its id, without its secret."""
    with connected(context) as client:
        show_one(client.enrolment_tokens.get(token).raw, columns.ENROLMENT_TOKEN, output)


@app.command("create")
def create(
    agent: Annotated[str | None, typer.Option("--agent", help="For the agent of this id.")] = None,
    prefix: Annotated[str | None, typer.Option("--prefix", help="For all ids that begin so.")] = None,
    uses: Annotated[int, typer.Option("--uses", min=1, help="How many agents may use it.")] = 1,
    ttl: Annotated[str, typer.Option("--ttl", help="How long it is valid: 1h, at most 7d.")] = "1h",
    approved: Annotated[bool, typer.Option("--approved", help="The agents need no approval.")] = False,
    reusable: Annotated[bool, typer.Option("--reusable", help="The same agent may use it again.")] = False,
    label: Label = None,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Create an enrolment token and show it, once."""
    from command_dispatcher.client import UNSET

    if (agent is None) == (prefix is None):
        raise usage("Give either --agent or --prefix.", "dispatcher enrolment create --prefix edge- --uses 10")
    try:
        seconds = seconds_from(ttl)
        labels = labels_from(label) if label else UNSET
    except ValueError as error:
        raise usage(str(error)) from None
    with connected(context) as client:
        created = client.enrolment_tokens.create(
            agent_id=agent or UNSET,
            prefix=prefix or UNSET,
            labels=labels,
            approved=approved,
            uses=uses,
            ttl_seconds=seconds,
            reusable=reusable,
        )
        show_one(created.raw, columns.ENROLMENT_TOKEN, output)
        say("Save the token: it is shown only now.")


@app.command("revoke")
def revoke(token: str, yes: Yes = False, context: ContextOption = None) -> None:
    """Revoke an enrolment token by its id; agents that used it stay."""
    with connected(context) as client:
        confirm(f"Revoke the enrolment token {token}?", yes=yes)
        client.enrolment_tokens.revoke(token)
        say(f"The enrolment token {token} is revoked.")
