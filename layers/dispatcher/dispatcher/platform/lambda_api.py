"""Lambda's API: invoke a function, and wait for its answer or not."""

import json
import threading
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from dispatcher.platform import settings
from dispatcher.platform.json_text import as_object
from dispatcher.platform.signed_http import NoAnswerError, NotSentError, SignedHttp

# One short try: an agent waits for its handshake, and the sweep is the second try.
CONNECT_SECONDS, READ_SECONDS = 1, 2


def invoke_event(function: str, payload: bytes) -> str | None:
    """Invoke a function with an event, asynchronously; return why it was not accepted, if it was not."""
    try:
        answer = _client(settings.lambda_url()).request(
            "POST",
            _path(function),
            payload,
            {"X-Amz-Invocation-Type": "Event", "Content-Type": "application/json"},
        )
    except (NotSentError, NoAnswerError) as error:
        return str(error)
    return None if answer.status == HTTPStatus.ACCEPTED else f"HTTP {answer.status}"


class NotInvokedError(Exception):
    """The function surely did not run; the text says why."""


class NotReportedError(Exception):
    """The function has failed, or its answer was lost: it may have done its work, or still be at it."""


def invoke_and_wait(function: str, payload: bytes, seconds: float) -> dict[str, Any]:
    """Invoke a function and return its answer, which is an object; raises NotInvokedError and NotReportedError.

    Several threads may wait at the same time: each has its own connection.
    """
    url = settings.lambda_url()
    kept: dict[tuple[str, float], SignedHttp] = _threads.__dict__.setdefault("kept", {})
    if (url, seconds) not in kept:
        kept[url, seconds] = SignedHttp(url, "lambda", connect_seconds=CONNECT_SECONDS, read_seconds=seconds)
    headers = {"Content-Type": "application/json"}
    try:
        answer = kept[url, seconds].request("POST", _path(function), payload, headers)
    except NotSentError as error:
        raise NotInvokedError(str(error)) from error
    except NoAnswerError as error:
        raise NotReportedError(str(error)) from error
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise NotReportedError(f"HTTP {answer.status}")
    if answer.status != HTTPStatus.OK:
        raise NotInvokedError(f"HTTP {answer.status}")
    said = as_object(json.loads(answer.body))
    if said is None or "errorType" in said:
        raise NotReportedError("no answer" if said is None else str(said["errorType"]))
    return said


_threads = threading.local()


def _path(function: str) -> str:
    return f"/2015-03-31/functions/{quote(function, safe='')}/invocations"


@cache
def _client(url: str) -> SignedHttp:
    return SignedHttp(url, "lambda", connect_seconds=CONNECT_SECONDS, read_seconds=READ_SECONDS)
