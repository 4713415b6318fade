"""An HTTP client of the service's API, sync and async."""

from typing import TYPE_CHECKING

from command_dispatcher.client.core import UNSET, Retries
from command_dispatcher.client.decoding import Model
from command_dispatcher.client.errors import (
    CommandFailed,
    Conflict,
    DispatcherError,
    GaveUpWaiting,
    IdempotencyKeyReused,
    InvalidRequest,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Problem,
    QueueFull,
    ServiceFailed,
    TooManyRequests,
    UnexpectedAnswer,
    UnknownAgent,
    UnknownCommand,
    Unreachable,
)
from command_dispatcher.client.sync_client import Client, Sent

if TYPE_CHECKING:
    from command_dispatcher.client.async_client import AsyncClient, AsyncSent

__all__ = [
    "UNSET",
    "AsyncClient",
    "AsyncSent",
    "Client",
    "CommandFailed",
    "Conflict",
    "DispatcherError",
    "GaveUpWaiting",
    "IdempotencyKeyReused",
    "InvalidRequest",
    "Model",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "Problem",
    "QueueFull",
    "Retries",
    "Sent",
    "ServiceFailed",
    "TooManyRequests",
    "UnexpectedAnswer",
    "UnknownAgent",
    "UnknownCommand",
    "Unreachable",
]


def __getattr__(name: str) -> object:
    # asyncio and httpx2 are loaded only by programs that use them.
    if name not in {"AsyncClient", "AsyncSent"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from command_dispatcher.client import async_client  # noqa: PLC0415

    return getattr(async_client, name)
