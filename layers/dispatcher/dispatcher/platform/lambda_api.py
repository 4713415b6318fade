"""Lambda's API: invoke a function asynchronously."""

from functools import cache
from http import HTTPStatus
from urllib.parse import quote

from dispatcher.platform import settings
from dispatcher.platform.signed_http import NoAnswerError, NotSentError, SignedHttp

# One short try: an agent waits for its handshake, and the sweep is the second try.
CONNECT_SECONDS, READ_SECONDS = 1, 2


def invoke_event(function: str, payload: bytes) -> str | None:
    """Invoke a function with an event, asynchronously; return why it was not accepted, if it was not."""
    try:
        answer = _client(settings.lambda_url()).request(
            "POST",
            f"/2015-03-31/functions/{quote(function, safe='')}/invocations",
            payload,
            {"X-Amz-Invocation-Type": "Event", "Content-Type": "application/json"},
        )
    except (NotSentError, NoAnswerError) as error:
        return str(error)
    return None if answer.status == HTTPStatus.ACCEPTED else f"HTTP {answer.status}"


@cache
def _client(url: str) -> SignedHttp:
    return SignedHttp(url, "lambda", connect_seconds=CONNECT_SECONDS, read_seconds=READ_SECONDS)
