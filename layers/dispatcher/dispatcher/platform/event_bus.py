"""EventBridge: put events on a bus."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any, Protocol

from dispatcher.platform import settings
from dispatcher.platform.signed_http import NoAnswerError, NotSentError, SignedHttp

BATCH = 10
"""The most events that one call takes."""
CONNECT_SECONDS, READ_SECONDS = 2, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An event as EventBridge takes it."""

    source: str
    detail_type: str
    detail: Mapping[str, Any]
    time: float
    """In seconds since 1970."""


class Bus(Protocol):
    """What the publisher needs of a bus."""

    def put(self, entries: Sequence[Entry]) -> list[str | None]:
        """Put at most BATCH events; return for each why it was not taken, or None if it was."""
        ...


class EventBridge:
    """The bus with this name."""

    def __init__(self, name: str, url: str) -> None:
        self._name = name
        self._http = _client(url)

    @classmethod
    def from_environment(cls) -> "EventBridge":
        """Take the name and the address from the function's environment."""
        return cls(settings.event_bus(), settings.events_url())

    def put(self, entries: Sequence[Entry]) -> list[str | None]:
        """Put at most BATCH events; return for each why it was not taken, or None if it was.

        Without an answer they may have been taken.
        """
        asked = [
            {
                "EventBusName": self._name,
                "Source": entry.source,
                "DetailType": entry.detail_type,
                "Detail": json.dumps(entry.detail),
                "Time": entry.time,
            }
            for entry in entries
        ]
        try:
            answer = self._http.request("POST", "/", json.dumps({"Entries": asked}).encode(), _HEADERS)
        except (NotSentError, NoAnswerError) as error:
            return [str(error)] * len(entries)
        try:
            document = json.loads(answer.body)
            if answer.status != HTTPStatus.OK:
                return [f"HTTP {answer.status} {document.get('__type', '')}".strip()] * len(entries)
            return [each.get("ErrorCode") for each in document["Entries"]]
        except (ValueError, KeyError, AttributeError):
            return [f"HTTP {answer.status}"] * len(entries)


_HEADERS = {"X-Amz-Target": "AWSEvents.PutEvents", "Content-Type": "application/x-amz-json-1.1"}


@cache
def _client(url: str) -> SignedHttp:
    return SignedHttp(url, "events", connect_seconds=CONNECT_SECONDS, read_seconds=READ_SECONDS)
