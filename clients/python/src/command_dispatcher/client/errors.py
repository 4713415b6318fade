"""Everything that can go wrong between a caller and the service, under one base."""

from collections.abc import Mapping
from typing import Any, ClassVar

PROBLEM_PREFIX = "urn:agent-command-dispatcher:problem:"


class DispatcherError(Exception):
    """The dispatcher did not do what was asked."""


class Unreachable(DispatcherError):
    """No answer came from the service; whether it got the request is not known."""


class UnexpectedAnswer(DispatcherError):
    """The answer is not one of a dispatcher: the URL may be wrong, or the versions do not fit."""


class CommandFailed(DispatcherError):
    """The command ended without success."""

    def __init__(self, command_id: str, status: str, reason: str | None) -> None:
        super().__init__(f"command {command_id} is {status}" + (f": {reason}" if reason else ""))
        self.command_id = command_id
        self.status = status
        self.reason = reason


class GaveUpWaiting(DispatcherError):
    """The command did not end in the time given; it still can."""


class Problem(DispatcherError):
    """The service refused the request with a problem document (RFC 9457)."""

    slug: ClassVar[str] = ""

    def __init__(self, status: int, document: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.document = document
        """The whole problem document; for 422 its `errors` name each place."""
        self.retry_after = retry_after
        """Seconds, where the service named them."""
        super().__init__(self.detail or self.title or f"HTTP status {status}")

    @property
    def type(self) -> str:
        """The type of the problem, which never changes."""
        return str(self.document.get("type", "about:blank"))

    @property
    def title(self) -> str:
        """What went wrong, in general."""
        return str(self.document.get("title", ""))

    @property
    def detail(self) -> str:
        """What went wrong this time."""
        return str(self.document.get("detail", ""))


class InvalidRequest(Problem):
    """400, 405, 413, 415, 422: the request is not valid."""


class NotAuthenticated(Problem):
    """401: there is no token, or it is no longer valid."""


class NotAllowed(Problem):
    """403: the operator's role or label limit does not allow this."""


class NotFound(Problem):
    """404: there is no such thing, or a label limit hides it."""


class UnknownAgent(NotFound):
    """There is no such agent."""

    slug = "unknown-agent"


class UnknownCommand(NotFound):
    """There is no such command."""

    slug = "unknown-command"


class Conflict(Problem):
    """409: the request does not fit the present state."""


class IdempotencyKeyReused(Conflict):
    """The idempotency key was used for another request."""

    slug = "idempotency-key-reused"


class TooManyRequests(Problem):
    """429: a limit is reached; `retry_after` tells when to try again."""


class QueueFull(TooManyRequests):
    """The agent's queue is full."""

    slug = "queue-full"


class ServiceFailed(Problem):
    """5xx: the service could not answer."""


_BY_STATUS: Mapping[int, type[Problem]] = {
    400: InvalidRequest,
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotFound,
    405: InvalidRequest,
    409: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: TooManyRequests,
}
_BY_TYPE: Mapping[str, type[Problem]] = {
    PROBLEM_PREFIX + kind.slug: kind for kind in (UnknownAgent, UnknownCommand, IdempotencyKeyReused, QueueFull)
}
_SERVER_ERRORS = 500


def problem(status: int, document: Mapping[str, Any], retry_after: float | None = None) -> Problem:
    """Make the exception for an answer: by its type, else by its status."""
    by_status = ServiceFailed if status >= _SERVER_ERRORS else _BY_STATUS.get(status, Problem)
    return _BY_TYPE.get(str(document.get("type")), by_status)(status, document, retry_after)
