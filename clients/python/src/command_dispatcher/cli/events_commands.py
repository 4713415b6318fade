"""`dispatcher events`: the feed."""

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from command_dispatcher.cli import columns
from command_dispatcher.cli.connection import connected
from command_dispatcher.cli.options import DEFAULT_LIMIT, ContextOption, Format, Output, Selector
from command_dispatcher.cli.output import emit, on_terminal, show_items
from command_dispatcher.cli.stopping import say
from command_dispatcher.cli.values import json_text, printable

if TYPE_CHECKING:
    from command_dispatcher.client import Client, DispatcherError
    from command_dispatcher.client.models import EventType


def events(
    follow: Annotated[bool, typer.Option("--follow", "-F", help="Go on with what happens, until Ctrl-C.")] = False,
    after: Annotated[
        str | None,
        typer.Option("--after", help="Events after this id; start: from the oldest; default with --follow: now."),
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="command.failed,agent.offline; may be repeated.")
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only events of this agent.")] = None,
    selector: Selector = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=200, help="Without --follow: the most events.")
    ] = DEFAULT_LIMIT,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Show what happened to commands and agents, in order.

    dispatcher events --follow --type command.failed -o ndjson
    """
    wanted = cast("list[EventType]", [part for text in types or () for part in text.split(",") if part])
    with connected(context) as client:
        if follow:
            _follow(client, after, wanted, agent, selector, output)
            return
        page = client.events.read(
            after=after or "start", types=wanted or None, agent_id=agent, selector=selector, limit=limit
        )
        show_items(page.raw["events"], columns.EVENTS, output, whole=page.raw)


def _follow(
    client: "Client",
    after: str | None,
    types: "list[EventType]",
    agent: str | None,
    selector: str | None,
    output: Format,
) -> None:
    try:
        for event in client.follow(after, types=types or None, agent_id=agent, selector=selector, on_failure=_tell):
            emit(_line(event.raw) if output is Format.TABLE else json_text(event.raw, indent=None))
    except KeyboardInterrupt:
        raise typer.Exit from None


def _tell(failure: "DispatcherError") -> None:
    say(f"trying again: {failure}")


def _line(event: Any) -> str:
    texts = [printable(column.text(event)) for column in columns.EVENTS]
    return "  ".join(text for text in texts[:-1] if text) if on_terminal() else "\t".join(texts)
