"""Send requests and await their answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Generic, TypeVar

import httpx2

from command_dispatcher.client.core import Again, Answer, Request, Retries, after, after_failure, base_url, next_page
from command_dispatcher.client.settings import CONNECT_TIMEOUT, USER_AGENT, authorization

Item = TypeVar("Item")


class AsyncTransport:
    """A connection pool to one service, with an operator's token."""

    def __init__(self, url: str, token: str | None, *, timeout: float, retries: Retries) -> None:
        self.url = base_url(url)
        self._retries = retries
        self._http = httpx2.AsyncClient(
            base_url=self.url,
            headers={"user-agent": USER_AGENT, **authorization(token)},
            timeout=httpx2.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT)),
        )

    async def run(self, sent: Request, timeout: float | None = None) -> Any:
        """Send a request, again where that is safe; return the decoded answer, or raise a DispatcherError."""
        attempt = 0
        while True:
            attempt += 1
            outcome = await self._attempt(sent, attempt, timeout)
            if not isinstance(outcome, Again):
                return outcome
            await asyncio.sleep(outcome.seconds)

    async def _attempt(self, sent: Request, attempt: int, timeout: float | None) -> Any:
        try:
            response = await self._http.request(
                sent.method,
                sent.path,
                params=sent.query,
                content=sent.body,
                headers=sent.headers,
                timeout=timeout or httpx2.USE_CLIENT_DEFAULT,
            )
        except httpx2.TransportError as failure:
            return after_failure(sent, failure, attempt, self._retries)
        answer = Answer(status=response.status_code, headers=response.headers, body=response.content)
        return after(sent, answer, attempt, self._retries)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class AsyncPages(Generic[Item]):
    """The items of a list, read page by page while they are iterated; it can be iterated again."""

    def __init__(self, transport: AsyncTransport, plural: str, decode: Callable[[Any], Item], first: Request) -> None:
        self.plural = plural
        """The name of the items in the API's answer."""
        self._transport = transport
        self._decode = decode
        self._first = first

    async def pages(self) -> AsyncIterator[Mapping[str, Any]]:
        """Read the pages, as the API's own objects."""
        sent: Request | None = self._first
        while sent is not None:
            page = await self._transport.run(sent)
            yield page
            cursor = page.get("nextCursor")
            sent = next_page(sent, cursor) if cursor else None

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for page in self.pages():
            for item in page[self.plural]:
                yield self._decode(item)


class AsyncGroup:
    """Operations on one kind of thing."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def _run(self, sent: Request) -> Any:
        return await self._transport.run(sent)

    def _pages(self, plural: str, decode: Callable[[Any], Item], first: Request) -> AsyncPages[Item]:
        return AsyncPages(self._transport, plural, decode, first)
