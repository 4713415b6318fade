"""Use a dispatcher: `Client` and `AsyncClient` send commands, `Agent` executes them."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from command_dispatcher.agent import Agent, Reject, Retry
    from command_dispatcher.client import AsyncClient, Client

__all__ = ["Agent", "AsyncClient", "Client", "Reject", "Retry", "__version__"]
__version__ = "0.2.0"

# Each name is imported when it is first used: an agent does not load the HTTP client, and the command line starts quickly.
_HOMES = {
    "Agent": "command_dispatcher.agent",
    "Reject": "command_dispatcher.agent",
    "Retry": "command_dispatcher.agent",
    "AsyncClient": "command_dispatcher.client",
    "Client": "command_dispatcher.client",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
