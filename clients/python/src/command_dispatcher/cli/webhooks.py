"""The commands about webhooks."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from command_dispatcher.cli import columns
from command_dispatcher.cli.asking import confirm
from command_dispatcher.cli.connection import connected
from command_dispatcher.cli.options import DEFAULT_LIMIT, ContextOption, Format, Limit, Output, Selector, Yes
from command_dispatcher.cli.output import show_list, show_one
from command_dispatcher.cli.stopping import Exit, say, usage
from command_dispatcher.cli.values import seconds_from

if TYPE_CHECKING:
    from command_dispatcher.client.models import EventType

app = typer.Typer(help="Tell other services what happens, by signed requests.", no_args_is_help=True)

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK")]
Types = Annotated[list[str] | None, typer.Option("--type", help="command.failed,agent.offline; default: all.")]
Description = Annotated[str | None, typer.Option("--description", help="What it is for.")]


@app.command("list")
def list_webhooks(limit: Limit = DEFAULT_LIMIT, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """List webhooks, oldest first."""
    with connected(context) as client:
        show_list(
            lambda size, cursor: client.webhooks.list(limit=size, cursor=cursor),
            columns.WEBHOOKS,
            output,
            limit,
            "dispatcher webhooks create https://hooks.example.com/dispatcher --type command.failed",
        )


@app.command("show")
def show(webhook: WebhookId, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """Show a webhook, without its secret."""
    with connected(context) as client:
        show_one(client.webhooks.get(webhook).raw, columns.WEBHOOK, output)


@app.command("create")
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the requests go.")],
    types: Types = None,
    selector: Selector = None,
    description: Description = None,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Create a webhook and show its secret, once."""
    from command_dispatcher.client import UNSET

    with connected(context) as client:
        created = client.webhooks.create(
            url=url, types=_types(types) or UNSET, selector=selector or UNSET, description=description or UNSET
        )
        show_one(created.raw, columns.WEBHOOK, output)
        say("Save the secret: it is shown only now.")


@app.command("change")
def change(
    webhook: WebhookId,
    url: Annotated[str | None, typer.Option("--url", help="Where the requests go.")] = None,
    types: Types = None,
    selector: Selector = None,
    description: Description = None,
    enable: Annotated[bool | None, typer.Option("--enable/--disable", help="Whether it is called.")] = None,
    resume_from: Annotated[
        str | None, typer.Option("--resume-from", help="With --enable: stopped, now or start.")
    ] = None,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Change a webhook, or enable and disable it."""
    from command_dispatcher.client.core import request

    given = {
        "url": url,
        "types": _types(types) or None,
        "selector": selector,
        "description": description,
        "enabled": enable,
        "resumeFrom": resume_from,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise usage("Say what is to be changed.", "dispatcher webhooks change WEBHOOK --disable")
    with connected(context) as client:
        show_one(client.call(request("PATCH", "/api/v1/webhooks/{}", webhook, body=changes)), columns.WEBHOOK, output)


@app.command("delete")
def delete(webhook: WebhookId, yes: Yes = False, context: ContextOption = None) -> None:
    """Delete a webhook and the log of its deliveries."""
    with connected(context) as client:
        confirm(f"Delete the webhook {webhook}?", yes=yes)
        client.webhooks.delete(webhook)
        say(f"The webhook {webhook} is deleted.")


@app.command("test")
def try_out(webhook: WebhookId, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """Send a test message now; exit code 1 if it was not delivered."""
    with connected(context) as client:
        trial = client.webhooks.test(webhook)
        show_one(trial.raw, columns.TRIAL, output)
        raise typer.Exit(Exit.COMPLETED if trial.delivered else Exit.FAILED)


@app.command("deliveries")
def deliveries(
    webhook: WebhookId, limit: Limit = DEFAULT_LIMIT, output: Output = Format.TABLE, context: ContextOption = None
) -> None:
    """Show each try to deliver a message, newest first."""
    with connected(context) as client:
        show_list(
            lambda size, cursor: client.webhooks.deliveries(webhook, limit=size, cursor=cursor),
            columns.DELIVERIES,
            output,
            limit,
        )


@app.command("rotate-secret")
def rotate_secret(
    webhook: WebhookId,
    overlap: Annotated[str | None, typer.Option("--overlap", help="How long the old one signs too: 1h.")] = None,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Give a webhook a new secret and show it, once."""
    from command_dispatcher.client import UNSET

    try:
        seconds = seconds_from(overlap) if overlap else UNSET
    except ValueError as error:
        raise usage(str(error)) from None
    with connected(context) as client:
        show_one(client.webhooks.rotate_secret(webhook, overlap_seconds=seconds).raw, columns.WEBHOOK, output)
        say("Save the secret: it is shown only now.")


def _types(texts: list[str] | None) -> "list[EventType]":
    return cast("list[EventType]", [part for text in texts or () for part in text.split(",") if part])
