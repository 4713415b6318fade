"""Requests, answers and retries as values: what both clients share, without I/O."""

import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Final, TypeAlias, cast
from urllib.parse import quote, urlsplit

from command_dispatcher.client.errors import UnexpectedAnswer, Unreachable, problem
from command_dispatcher.digits import dumps, loads

TRANSIENT = frozenset({429, 502, 503, 504})
"""Statuses after which the same request may succeed."""
_ERRORS = 400
_REDIRECTS = 300
_QUOTED = 200


class _Unset(Enum):
    UNSET = "unset"


UNSET: Final = _Unset.UNSET
"""A member that is not sent; None is sent as null."""
Unset: TypeAlias = _Unset


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, ready to be sent as often as needed."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: str | None = None
    idempotency_key: str | None = None

    @property
    def repeatable(self) -> bool:
        """Whether sending it again has no second effect."""
        return self.method == "GET" or self.idempotency_key is not None

    @property
    def headers(self) -> dict[str, str]:
        """The headers that this request needs."""
        sent = {"accept": "application/json"}
        if self.body is not None:
            sent["content-type"] = "application/json"
        if self.idempotency_key is not None:
            sent["idempotency-key"] = self.idempotency_key
        return sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often and when a repeatable request is sent again."""

    attempts: int = 4
    """In all; 1: never again."""
    first_seconds: float = 0.25
    longest_seconds: float = 30.0
    """A longer Retry-After is not waited for: the problem is raised."""

    def pause(self, attempt: int, retry_after: float | None) -> float | None:
        """Return the seconds to wait after an attempt (from 1), with jitter; None: give up."""
        if attempt >= self.attempts or (retry_after or 0) > self.longest_seconds:
            return None
        ceiling = min(self.first_seconds * 2 ** (attempt - 1), self.longest_seconds)
        return (retry_after or 0) + random.uniform(0, ceiling)  # noqa: S311 - jitter needs no secrecy


@dataclass(frozen=True, slots=True)
class Again:
    """Send the request again after so many seconds."""

    seconds: float


def request(
    method: str,
    path: str,
    *ids: str,
    query: Mapping[str, Any] | None = None,
    body: Any = UNSET,
    idempotency_key: str | None = None,
    keyed: bool = False,
) -> Request:
    """Build a request: `ids` fill the path's {}, a parameter that is None is left out, `keyed` makes an idempotency key."""
    return Request(
        method=method,
        path=path.format(*(quote(part, safe="") for part in ids)),
        query=tuple((name, text) for name, value in (query or {}).items() for text in _texts(value)),
        body=None if body is UNSET else dumps(encoded(body)),
        idempotency_key=idempotency_key or (new_key() if keyed else None),
    )


def next_page(sent: Request, cursor: str) -> Request:
    """Return the request for the page of a cursor."""
    kept = tuple(pair for pair in sent.query if pair[0] != "cursor")
    return replace(sent, query=(*kept, ("cursor", cursor)))


def new_key() -> str:
    """Make an idempotency key."""
    return str(uuid.uuid4())


def members(**named: Any) -> dict[str, Any]:
    """Make a body of the members that are set."""
    return {camel(name): value for name, value in named.items() if value is not UNSET}


def camel(name: str) -> str:
    """Turn a Python name into the API's."""
    first, *others = name.rstrip("_").split("_")
    return first + "".join(word.capitalize() for word in others)


def encoded(value: Any) -> Any:
    """Turn a value into JSON: moments into text, dataclasses into objects without what is unset."""
    if isinstance(value, datetime):
        return _moment(value)
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return encoded(members(**named))
    if isinstance(value, Mapping):
        return {str(name): encoded(item) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [encoded(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def base_url(url: str) -> str:
    """Check a service's URL and return it without a slash at its end; raises ValueError."""
    parts = urlsplit(url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url!r} is not the URL of a service; it looks like https://dispatcher.example.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("the URL of a service has no password, no query and no fragment")
    return url.strip().rstrip("/")


def after(sent: Request, answer: Answer, attempt: int, retries: Retries, now: datetime | None = None) -> Any:
    """Return the decoded answer, or Again; raises a Problem, or UnexpectedAnswer."""
    if answer.status >= _ERRORS:
        retry_after = _retry_after(answer.headers, now or datetime.now(UTC))
        if sent.repeatable and answer.status in TRANSIENT:
            pause = retries.pause(attempt, retry_after)
            if pause is not None:
                return Again(pause)
        raise problem(answer.status, _problem_document(answer), retry_after)
    if answer.status >= _REDIRECTS:
        raise UnexpectedAnswer(
            f"The service redirects to {answer.headers.get('location')}, and redirects are not followed."
        )
    return _decoded(answer) if answer.body else None


def after_failure(sent: Request, failure: Exception, attempt: int, retries: Retries) -> Again:
    """Return Again after a request without an answer; raises Unreachable."""
    pause = retries.pause(attempt, None) if sent.repeatable else None
    if pause is None:
        raise Unreachable(getattr(failure, "strerror", None) or str(failure) or type(failure).__name__) from failure
    return Again(pause)


def _texts(value: Any) -> list[str]:
    if value is None or value is UNSET:
        return []
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, datetime):
        return [_moment(value)]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [text for item in value for text in _texts(item)]  # pyright: ignore[reportUnknownVariableType]
    return [str(value)]


def _moment(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError("a moment needs its time zone")
    return value.isoformat()


def _decoded(answer: Answer) -> Any:
    try:
        return loads(answer.body)
    except ValueError:
        shown = answer.body[:_QUOTED].decode(errors="replace").strip().partition("\n")[0]
        raise UnexpectedAnswer(f"The answer is not JSON; it begins with {shown!r}.") from None


def _problem_document(answer: Answer) -> dict[str, Any]:
    try:
        document = loads(answer.body)
    except ValueError:
        return {}
    known = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    # API Gateway itself answers {"message": …}, for example 404 and 503.
    return known if "detail" in known or "title" in known else {"title": str(known.get("message", "")), **known}


def _retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    value = headers.get("retry-after")
    if value is None:
        return None
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (TypeError, ValueError):
        return None
