"""What an error means at the command line: its exit code, its text, the next step."""

from collections.abc import Mapping
from typing import Any

from command_dispatcher.cli.stopping import Exit, Stop
from command_dispatcher.client import errors

_CODES: tuple[tuple[type[errors.DispatcherError], Exit], ...] = (
    (errors.NotAuthenticated, Exit.DENIED),
    (errors.NotAllowed, Exit.DENIED),
    (errors.NotFound, Exit.NOT_FOUND),
    (errors.InvalidRequest, Exit.USAGE),
    (errors.GaveUpWaiting, Exit.GAVE_UP),
)

WHERE = (
    "does the service run, and is the URL right?"
    " `dispatcher context list` shows the contexts; DISPATCHER_URL goes before them"
)


def explained(error: errors.DispatcherError, url: str, context: str | None) -> Stop:
    """Turn an error of the client into the end of the command."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)
    return Stop(code, _text(error, url), *_hints(error, url, context))


def _text(error: errors.DispatcherError, url: str) -> str:
    match error:
        case errors.Unreachable():
            return f"No answer from {url}: {error}"
        case errors.NotFound() if _may_be_elsewhere(error):
            return f"{url} does not know this path."
        case errors.Problem() if error.document.get("errors"):
            return "\n".join([str(error), *_places(error.document)])
        case _:
            return str(error)


def _places(document: Mapping[str, Any]) -> list[str]:
    found: list[Any] = document["errors"]
    return [f"  {item['at']}: {item['is']}" for item in found[1:] if isinstance(item, Mapping)]


def _hints(error: errors.DispatcherError, url: str, context: str | None) -> tuple[str, ...]:
    where = f" --context {context}" if context else ""
    match error:
        case errors.NotAuthenticated():
            return (f"dispatcher login --url {url}{where}",)
        case errors.TooManyRequests() if error.retry_after:
            return (f"try again in {error.retry_after:.0f} seconds",)
        case errors.ServiceFailed():
            return ("try again later; the service's log has the details",)
        case errors.IdempotencyKeyReused():
            return ("leave --idempotency-key out, or repeat exactly the request that the key was made for",)
        case _:
            return (WHERE,) if _may_be_elsewhere(error) else ()


def _may_be_elsewhere(error: errors.DispatcherError) -> bool:
    """Tell whether the URL may be that of something else."""
    if isinstance(error, errors.NotFound):
        return not error.document.get("type")
    return isinstance(error, errors.Unreachable | errors.UnexpectedAnswer)
