"""Send requests and wait for their answers, in the calling thread."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from command_dispatcher.client.connections import FAILURES, Connections
from command_dispatcher.client.core import Again, Request, Retries, after, after_failure, base_url, next_page

Item = TypeVar("Item")


class Transport:
    """Connections to one service, with an operator's token."""

    def __init__(self, url: str, token: str | None, *, timeout: float, retries: Retries) -> None:
        self.url = base_url(url)
        self._retries = retries
        self._http = Connections(self.url, token, timeout=timeout)

    def run(self, sent: Request, timeout: float | None = None) -> Any:
        """Send a request, again where that is safe; return the decoded answer, or raise a DispatcherError."""
        attempt = 0
        while True:
            attempt += 1
            outcome = self._attempt(sent, attempt, timeout)
            if not isinstance(outcome, Again):
                return outcome
            time.sleep(outcome.seconds)

    def _attempt(self, sent: Request, attempt: int, timeout: float | None) -> Any:
        try:
            answer = self._http.send(sent, timeout)
        except FAILURES as failure:
            return after_failure(sent, failure, attempt, self._retries)
        return after(sent, answer, attempt, self._retries)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class Pages(Generic[Item]):
    """The items of a list, read page by page while they are iterated; it can be iterated again."""

    def __init__(self, transport: Transport, plural: str, decode: Callable[[Any], Item], first: Request) -> None:
        self.plural = plural
        """The name of the items in the API's answer."""
        self._transport = transport
        self._decode = decode
        self._first = first

    def pages(self) -> Iterator[Mapping[str, Any]]:
        """Read the pages, as the API's own objects."""
        sent: Request | None = self._first
        while sent is not None:
            page = self._transport.run(sent)
            yield page
            cursor = page.get("nextCursor")
            sent = next_page(sent, cursor) if cursor else None

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            for item in page[self.plural]:
                yield self._decode(item)


class Group:
    """Operations on one kind of thing."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _run(self, sent: Request) -> Any:
        return self._transport.run(sent)

    def _pages(self, plural: str, decode: Callable[[Any], Item], first: Request) -> Pages[Item]:
        return Pages(self._transport, plural, decode, first)
