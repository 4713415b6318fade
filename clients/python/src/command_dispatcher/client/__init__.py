"""An HTTP client of the service's API, sync and async."""

from command_dispatcher.client.async_client import AsyncClient, AsyncSent
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
