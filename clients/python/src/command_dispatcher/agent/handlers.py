"""The handlers of an agent's actions, and how each is called with its command."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from .arguments import Arguments
from .errors import AgentError

Handler = TypeVar("Handler", bound=Callable[..., Any])
ANY = "*"
"""The action of the handler for all actions without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A handler, and what its author promised about it."""

    function: Callable[..., Any]
    arguments: Arguments
    is_async: bool
    idempotent: bool
    concurrent: bool

    def call(self, command: Any) -> Awaitable[Any] | Any:
        """Call the handler; raises Reject if the payload does not fit its arguments."""
        positional, named = self.arguments.bind(command)
        return self.function(*positional, **named)


class Handlers:
    """The handlers by action."""

    def __init__(self) -> None:
        self._by_action: dict[str, Registered] = {}

    def add(self, action: str, function: Callable[..., Any], *, idempotent: bool, concurrent: bool) -> None:
        """Add a handler; raises AgentError if the action has one, or the function cannot be called with a command."""
        if action in self._by_action:
            raise AgentError(f"The action {action!r} has two handlers.")
        self._by_action[action] = Registered(
            function=function,
            arguments=Arguments.of(function),
            is_async=inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__),
            idempotent=idempotent,
            concurrent=concurrent,
        )

    def find(self, action: object) -> Registered | None:
        """Return the handler of an action."""
        found = self._by_action.get(action) if isinstance(action, str) else None
        return found or (self._by_action.get(ANY) if isinstance(action, str) else None)

    def actions(self) -> list[str]:
        """Return the actions that have handlers."""
        return sorted(self._by_action.keys() - {ANY})

    def knows(self, action: object) -> bool:
        """Tell whether there is a handler."""
        return self.find(action) is not None

    def is_concurrent(self, action: object) -> bool:
        """Tell whether the action depends on no order."""
        found = self.find(action)
        return found is not None and found.concurrent

    def is_idempotent(self, action: object) -> bool:
        """Tell whether the action may be executed again after it was interrupted."""
        found = self.find(action)
        return found is not None and found.idempotent
