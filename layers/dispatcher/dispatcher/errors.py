"""The errors that callers see, as problem documents (RFC 9457).

The first line of a class's docstring is the title of its problem; the rest says what to do (docs/reference/problems.md).
"""

import inspect
import math
from typing import Any, ClassVar


class DispatcherError(Exception):
    """The dispatcher cannot do that.

    Try again later; if it comes again, the service's log has the details under the request's id.
    """

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

    @classmethod
    def uri(cls) -> str:
        """Return the type of the problem; it never changes."""
        return f"urn:agent-command-dispatcher:problem:{cls.slug}"

    @classmethod
    def title(cls) -> str:
        """Return the title of the problem."""
        return inspect.cleandoc(cls.__doc__ or "").partition("\n")[0].rstrip(".")

    def as_problem(self) -> dict[str, Any]:
        """Return the problem document, with extra members beside the standard ones."""
        return {
            "type": self.uri(),
            "title": self.title(),
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }


class Misconfigured(DispatcherError):
    """The service is not configured.

    An administrator sets what `detail` names.
    """

    slug = "misconfigured"


class InvalidRequest(DispatcherError):
    """The request is not valid.

    Correct what `detail` names: the body must be JSON (RFC 8259) in UTF-8, and a cursor must come from the same list.
    """

    status = 400
    slug = "invalid-request"


class UnknownFeedCursor(InvalidRequest):
    """The cursor does not come from this feed.

    The database was restored since, so that events after the cursor may be lost.  Read what you follow again, and go on without
    `after` (from now on) or with `after=start`.
    """

    slug = "unknown-feed-cursor"


class NotAuthenticated(DispatcherError):
    """The caller is not authenticated.

    Operators send `Authorization: Bearer <token>`; POST /api/v1/auth/login gives a token.  Agents send their id and, in
    X-Agent-Api-Key, their key.
    """

    status = 401
    slug = "not-authenticated"
    scheme: ClassVar[str] = "Bearer"

    @property
    def headers(self) -> dict[str, str]:
        """A 401 says how to authenticate (RFC 9110)."""
        return {"WWW-Authenticate": self.scheme}


class AgentNotAuthenticated(NotAuthenticated):
    """The agent is not authenticated.

    Register with the agent's id, and its key or an enrolment token in the header X-Agent-Api-Key: 64 hexadecimal digits.
    """

    slug = "agent-not-authenticated"
    scheme = 'AgentKey header="X-Agent-Api-Key"'


class NotAllowed(DispatcherError):
    """The caller's role does not allow this.

    Ask an admin for a higher role, or for labels that include the agent.
    """

    status = 403
    slug = "not-allowed"


class ForeignRequest(DispatcherError):
    """The request does not come from the service's own page.

    A browser's session counts only for requests of /console/ that show its csrfToken.  Programs send `Authorization: Bearer
    <token>`.
    """

    status = 403
    slug = "foreign-request"


class AgentRejected(DispatcherError):
    """The agent was rejected by an operator.

    An admin approves it with POST /api/v1/agents/{id}/approve.
    """

    status = 403
    slug = "agent-rejected"


class NotFound(DispatcherError):
    """There is no such thing.

    Check the path and the id; what a label limit hides is not found either.
    """

    status = 404
    slug = "not-found"


class UnknownAgent(NotFound):
    """There is no such agent.

    GET /api/v1/agents lists the agents that you may see.
    """

    slug = "unknown-agent"


class UnknownCommand(NotFound):
    """There is no such command.

    GET /api/v1/commands lists the commands that you may see; ended commands are deleted after the retention time.
    """

    slug = "unknown-command"


class UnknownSession(NotFound):
    """There is no such session.

    GET /api/v1/sessions lists the sessions that you may see.
    """

    slug = "unknown-session"


class UnknownTemplate(NotFound):
    """There is no such template.

    GET /api/v1/templates lists them; PUT /api/v1/templates/{name} stores one.
    """

    slug = "unknown-template"


class ChangedMeanwhile(DispatcherError):
    """It was changed meanwhile.

    Read it again, decide anew, and send its new `ETag` in `If-Match`.
    """

    status = 412
    slug = "changed-meanwhile"


class Conflict(DispatcherError):
    """The request does not fit the present state.

    Read the object again; `detail` says which state forbids the request.
    """

    status = 409
    slug = "conflict"


class EventsGone(DispatcherError):
    """Events after the cursor have been deleted.

    Read what you follow again, and go on with `after=start`, the oldest events that are kept.
    """

    status = 410
    slug = "events-gone"


class IdempotencyKeyReused(Conflict):
    """The idempotency key was used for another request.

    Send a new Idempotency-Key with a new request, and the same request with an old one.
    """

    slug = "idempotency-key-reused"


class TooLarge(DispatcherError):
    """The command does not fit into the agent's frame.

    Make the payload smaller, or send a reference that the agent can fetch; `limit` is in bytes.
    """

    status = 413
    slug = "too-large"


class TemplateTooLarge(DispatcherError):
    """The template is too large.

    Make the manifest smaller; `limit` is in bytes.
    """

    status = 413
    slug = "template-too-large"


class QueueFull(DispatcherError):
    """The agent's queue is full.

    Wait until the agent has taken commands (`Retry-After`), or cancel some that wait.
    """

    status = 429
    slug = "queue-full"

    @property
    def headers(self) -> dict[str, str]:
        """The queue gets shorter when its agent reconnects; the sweep runs each minute."""
        return {"Retry-After": "60"}


class RateExceeded(DispatcherError):
    """The operator submits too fast.

    Wait for the seconds of `Retry-After`.
    """

    status = 429
    slug = "rate-exceeded"

    @property
    def headers(self) -> dict[str, str]:
        """The rate is counted over a minute."""
        return {"Retry-After": "60"}


class TooManyAttempts(DispatcherError):
    """There were too many failed attempts.

    Wait for the seconds of `Retry-After`.
    """

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
    """The service cannot answer at present.

    Try again after the seconds of `Retry-After`, a submission under the same Idempotency-Key.
    """

    status = 503
    slug = "unavailable"

    @property
    def headers(self) -> dict[str, str]:
        """The cause passes within seconds."""
        return {"Retry-After": "5"}


class UnsupportedMediaType(DispatcherError):
    """The body is not declared as JSON.

    Send `Content-Type: application/json`.
    """

    status = 415
    slug = "unsupported-media-type"


class Unprocessable(DispatcherError):
    """The request does not have the form that this path wants.

    `errors` names up to 20 places (`at`) and what is wrong there (`is`); /docs shows the form of each request.
    """

    status = 422
    slug = "unprocessable"


class MethodNotAllowed(DispatcherError):
    """The path does not have this method.

    Use a method of the header Allow.
    """

    status = 405
    slug = "method-not-allowed"

    def __init__(self, detail: str, *, allow: str) -> None:
        super().__init__(detail)
        self._allow = allow

    @property
    def headers(self) -> dict[str, str]:
        """The methods that the path has."""
        return {"Allow": self._allow}


class BodyTooLarge(DispatcherError):
    """The body is larger than this path takes.

    Send less at a time; `limit` is in bytes.
    """

    status = 413
    slug = "body-too-large"


class UpgradeRequired(DispatcherError):
    """This path speaks WebSocket.

    Open it with a WebSocket client: wss://…?agent_id=…, with the agent's key in X-Agent-Api-Key.
    """

    status = 426
    slug = "upgrade-required"

    @property
    def headers(self) -> dict[str, str]:
        """A 426 names the protocol (RFC 9110)."""
        return {"Upgrade": "websocket"}


class NoTemplate(Unprocessable):
    """The agent needs the manifest of a template that is not known.

    Store it with PUT /api/v1/templates/{name}, or send it in `templateManifest`.
    """

    slug = "no-template"
