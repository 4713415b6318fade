"""What the shells complete: ids from the service that the command line is for, and names of contexts."""

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from command_dispatcher.client import Client
    from command_dispatcher.client.sync_transport import Pages

MOST = 100
SECONDS = 2.0


def agent_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of agents that begin so."""
    return _ids(ctx, incomplete, "agentId", lambda client: client.agents.list(search=incomplete or None, limit=MOST))


def command_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of the newest commands that begin so."""
    return _ids(ctx, incomplete, "commandId", lambda client: client.commands.list(limit=MOST))


def session_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of sessions that begin so."""
    return _ids(ctx, incomplete, "name", lambda client: client.sessions.list(limit=MOST))


def context_names(incomplete: str) -> list[str]:
    """Return the names of contexts that begin so."""
    from command_dispatcher.cli.contexts import Contexts

    try:
        return [known.name for known in Contexts().all() if known.name.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - a completion never disturbs who is typing
        return []


def _ids(ctx: typer.Context, incomplete: str, member: str, read: "Callable[[Client], Pages[Any]]") -> list[str]:
    """Return ids of the first page that begin so; nothing if the service does not answer."""
    from command_dispatcher.cli.contexts import target
    from command_dispatcher.client import Client, Retries

    try:
        goal = target(ctx.params.get("context"))
        with Client(goal.url, goal.token, timeout=SECONDS, retries=Retries(attempts=1)) as client:
            found = read(client)
            items = next(found.pages())[found.plural]
    except Exception:  # noqa: BLE001 - a completion never disturbs who is typing
        return []
    return [str(item[member]) for item in items if str(item[member]).startswith(incomplete)]
