"""Open the service that a command is for."""

import contextlib
import difflib
import os
from collections.abc import Generator
from typing import TYPE_CHECKING

from command_dispatcher.cli.contexts import target
from command_dispatcher.cli.stopping import Exit, Stop, usage

if TYPE_CHECKING:
    from command_dispatcher.client import Client

ATTEMPTS = 3
"""A person who waits learns within about a second that there is no network."""
NEAR = 3
"""How many near names are offered."""


@contextlib.contextmanager
def connected(context: str | None) -> "Generator[Client]":
    """Yield a client; errors of the service become the end of the command."""
    from command_dispatcher.cli.errors import explained
    from command_dispatcher.client import Client, DispatcherError, Retries

    goal = target(context)
    if goal.token is None and not os.environ.get("DISPATCHER_TOKEN"):
        raise Stop(Exit.DENIED, f"You are not logged in at {goal.url}.", f"dispatcher login --url {goal.url}")
    try:
        client = Client(goal.url, goal.token, retries=Retries(attempts=ATTEMPTS))
    except ValueError as error:
        raise usage(str(error)) from None
    try:
        with client:
            yield client
    except DispatcherError as error:
        raise explained(error, goal.url, goal.context) from error


@contextlib.contextmanager
def near_names(client: "Client", *agent_ids: str) -> Generator[None]:
    """Offer the agents with near names when one is unknown."""
    from command_dispatcher.client import DispatcherError, UnknownAgent

    try:
        yield
    except UnknownAgent as error:
        with contextlib.suppress(DispatcherError):
            first = next(client.agents.list(limit=200).pages())
            names = [str(agent["agentId"]) for agent in first["agents"]]
            near = [name for wanted in agent_ids for name in difflib.get_close_matches(wanted, names, NEAR, 0.5)]
            if near:
                raise Stop(Exit.NOT_FOUND, str(error), f"did you mean {', '.join(dict.fromkeys(near))}?") from None
        raise Stop(Exit.NOT_FOUND, str(error), "dispatcher agents list") from None
