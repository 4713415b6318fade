"""`dispatcher events`: the feed."""

import time
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from command_dispatcher.cli import columns
from command_dispatcher.cli.completing import agent_names
from command_dispatcher.cli.connection import connected
from command_dispatcher.cli.options import DEFAULT_LIMIT, ContextOption, Format, Output, Selector
from command_dispatcher.cli.output import emit, on_terminal, show_items
from command_dispatcher.cli.stopping import say
from command_dispatcher.cli.values import json_text, printable

if TYPE_CHECKING:
    from command_dispatcher.client import Client, DispatcherError
    from command_dispatcher.client.models import EventType


Follow = Annotated[bool, typer.Option("--follow", "-F", help="Go on with what happens, until Ctrl-C.")]
After = Annotated[
    str | None,
    typer.Option("--after", help="Events after this id; start: from the oldest; default with --follow: now."),
]
Types = Annotated[list[str] | None, typer.Option("--type", help="command.failed,agent.offline; may be repeated.")]
Most = Annotated[int, typer.Option("--limit", min=1, max=200, help="Without --follow: the most events, oldest first.")]
AGAIN_SECONDS = 60.0
"""A failure that was told is told again if the last one was so long ago."""


def events(
    follow: Follow = False,
    after: After = None,
    types: Types = None,
    agent: Annotated[
        str | None, typer.Option("--agent", help="Only events of this agent.", autocompletion=agent_names)
    ] = None,
    selector: Selector = None,
    limit: Most = DEFAULT_LIMIT,
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
        if len(page.raw["events"]) == limit:
            say(f"There may be more: --after {page.raw['after']} goes on, and --follow shows new ones.")


def _follow(
    client: "Client",
    after: str | None,
    types: "list[EventType]",
    agent: str | None,
    selector: str | None,
    output: Format,
) -> None:
    failures = Failures()
    try:
        for event in client.follow(
            after, types=types or None, agent_id=agent, selector=selector, on_failure=failures.tell
        ):
            emit(_line(event.raw, output))
    except KeyboardInterrupt:
        raise typer.Exit from None


class Failures:
    """Tells why there are no events at present, once."""

    def __init__(self) -> None:
        self._told, self._last = "", 0.0

    def tell(self, failure: "DispatcherError") -> None:
        """Take a failure."""
        now, words = time.monotonic(), str(failure)
        if words != self._told or now - self._last > AGAIN_SECONDS:
            say(f"trying again: {words}")
        self._told, self._last = words, now


def _line(event: Any, output: Format) -> str:
    if output is Format.ID:
        return str(event["id"])
    if output is not Format.TABLE:
        return json_text(event, indent=None)
    texts = [printable(column.text(event)) for column in columns.EVENTS]
    return "  ".join(text for text in texts[:-1] if text) if on_terminal() else "\t".join(texts)
