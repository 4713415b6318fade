"""The errors that callers see, as problem documents (RFC 9457).  The docstring of a class is the title of its problem."""

import math
from typing import Any, ClassVar


class DispatcherError(Exception):
    """The dispatcher cannot do that."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"

    def __init__(self, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {}

    def as_problem(self) -> dict[str, Any]:
        """Return the problem document, with extra members beside the standard ones."""
        title = (type(self).__doc__ or "").strip().rstrip(".")
        return {
            "type": f"urn:agent-command-dispatcher:problem:{self.slug}",
            "title": title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }


class Misconfigured(DispatcherError):
    """The service is not configured."""

    slug = "misconfigured"


class InvalidRequest(DispatcherError):
    """The request is not valid."""

    status = 400
    slug = "invalid-request"


class NotAuthenticated(DispatcherError):
    """The caller is not authenticated."""

    status = 401
    slug = "not-authenticated"

    @property
    def headers(self) -> dict[str, str]:
        """A 401 says how to authenticate (RFC 9110)."""
        return {"WWW-Authenticate": "Bearer"}


class NotAllowed(DispatcherError):
    """The caller's role does not allow this."""

    status = 403
    slug = "not-allowed"


class NotFound(DispatcherError):
    """There is no such thing."""

    status = 404
    slug = "not-found"


class UnknownAgent(NotFound):
    """There is no such agent."""

    slug = "unknown-agent"


class UnknownCommand(NotFound):
    """There is no such command."""

    slug = "unknown-command"


class UnknownSession(NotFound):
    """There is no such session."""

    slug = "unknown-session"


class UnknownTemplate(NotFound):
    """There is no such template."""

    slug = "unknown-template"


class Conflict(DispatcherError):
    """The request does not fit the present state."""

    status = 409
    slug = "conflict"


class IdempotencyKeyReused(Conflict):
    """The idempotency key was used for another request."""

    slug = "idempotency-key-reused"


class TooLarge(DispatcherError):
    """The command does not fit into the agent's frame."""

    status = 413
    slug = "too-large"


class TemplateTooLarge(DispatcherError):
    """The template is too large."""

    status = 413
    slug = "template-too-large"


class QueueFull(DispatcherError):
    """The agent's queue is full."""

    status = 429
    slug = "queue-full"

    @property
    def headers(self) -> dict[str, str]:
        """The queue gets shorter when its agent reconnects; the sweep runs each minute."""
        return {"Retry-After": "60"}


class RateExceeded(DispatcherError):
    """The operator submits too fast."""

    status = 429
    slug = "rate-exceeded"

    @property
    def headers(self) -> dict[str, str]:
        """The rate is counted over a minute."""
        return {"Retry-After": "60"}


class TooManyAttempts(DispatcherError):
    """There were too many failed attempts."""

    status = 429
    slug = "too-many-attempts"

    def __init__(self, detail: str, *, retry_after: float) -> None:
        super().__init__(detail)
        self._retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """How long to wait."""
        return {"Retry-After": str(math.ceil(self._retry_after))}


class Unavailable(DispatcherError):
    """The service cannot answer at present."""

    status = 503
    slug = "unavailable"

    @property
    def headers(self) -> dict[str, str]:
        """The cause passes within seconds."""
        return {"Retry-After": "5"}


class UnsupportedMediaType(DispatcherError):
    """The body is not declared as JSON."""

    status = 415
    slug = "unsupported-media-type"


class Unprocessable(DispatcherError):
    """The request does not have the form that this path wants."""

    status = 422
    slug = "unprocessable"


class NoTemplate(Unprocessable):
    """The agent needs the manifest of a template that is not known."""

    slug = "no-template"
