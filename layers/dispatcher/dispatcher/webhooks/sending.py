"""Sends webhooks: signed bodies to one receiver, one after another, until one is not accepted.

This runs outside of the network of the database.  It knows no secret, and returns what came of each message.
"""

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from dispatcher.webhooks.addresses import BadUrl, target_of
from dispatcher.webhooks.receiver_connection import ENDED, Network, ReceiverConnection, RefusedAddress

TOTAL_SECONDS = 10.0
"""For one message, from the first step to the end of the answer."""
BATCH_SECONDS = 15.0
"""How long messages of a batch are begun; the rest is left to the next batch."""
RETRY_AFTER_MOST = 3600
"""The longest pause, in seconds, that a receiver can ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message: what it says, and the headers that prove it."""

    message_id: str
    timestamp: int
    signature: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one message."""

    status: int | None = None
    """The status of the answer; None: there was none."""
    error: str | None = None
    """Why it was not delivered, for operators; None: it was."""
    milliseconds: int = 0
    retry_after: int | None = None
    """The pause in seconds that the receiver asked for."""


def send(
    url: str,
    messages: Sequence[Message],
    network: Network,
    *,
    private: bool,
    context: ssl.SSLContext | None = None,
    total_seconds: float = TOTAL_SECONDS,
) -> list[Outcome]:
    """Send messages until one is not accepted; return the outcomes of those that were tried.

    `private` allows http and addresses that are not public; `context` says which certificates are valid.
    """
    try:
        target = target_of(url, private=private)
    except BadUrl as error:
        return [Outcome(error=f"its URL is not allowed: {error}")]
    connection = ReceiverConnection(target, network, private=private, context=context)
    with contextlib.closing(connection):
        return list(_outcomes(connection, messages, total_seconds))


def _outcomes(connection: ReceiverConnection, messages: Sequence[Message], total_seconds: float) -> Iterator[Outcome]:
    end = time.monotonic() + BATCH_SECONDS
    for message in messages:
        if time.monotonic() > end:
            return
        outcome = _deliver(connection, message, total_seconds)
        yield outcome
        if outcome.error is not None:
            return


def _deliver(connection: ReceiverConnection, message: Message, seconds: float) -> Outcome:
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "agent-command-dispatcher",
        "webhook-id": message.message_id,
        "webhook-timestamp": str(message.timestamp),
        "webhook-signature": message.signature,
    }
    began = time.monotonic()
    try:
        status, retry_after = connection.post(message.body.encode(), headers, seconds)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Outcome(error=_explained(error, cut=connection.is_cut), milliseconds=_since(began))
    return Outcome(
        status=status, error=_refusal(status), milliseconds=_since(began), retry_after=_seconds_of(retry_after)
    )


def _seconds_of(retry_after: str) -> int | None:
    """Return a pause that was asked for in seconds; a date is not read."""
    text = retry_after.strip()
    return min(int(text), RETRY_AFTER_MOST) if text.isascii() and text.isdecimal() and len(text) < 10 else None  # noqa: PLR2004 - more digits are no pause


def _refusal(status: int) -> str | None:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    more = "; redirects are not followed" if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST else ""
    return f"it answered {status}{more}"


def _explained(error: Exception, *, cut: bool) -> str:
    """Say what went wrong, for operators: no address that a name leads to, and no part of an answer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if cut:
        return "it did not answer in time"
    return next((said for kinds, said in _EXPLANATIONS if isinstance(error, kinds)), "its answer is not HTTP")


_EXPLANATIONS: Sequence[tuple[type[Exception] | tuple[type[Exception], ...], str]] = (
    (RefusedAddress, "its address is not public"),
    (socket.gaierror, "its name cannot be resolved"),
    (TimeoutError, "it did not answer in time"),
    (ConnectionRefusedError, "it refused the connection"),
    (ENDED, "it closed the connection without an answer"),
    (ssl.SSLError, "it does not speak TLS as it should"),
    (OSError, "there is no way to its address"),
)


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
