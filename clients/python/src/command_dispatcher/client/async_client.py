"""The client for programs with asyncio."""

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, Self, Unpack

from command_dispatcher.client.async_operations import AsyncOperations
from command_dispatcher.client.async_transport import AsyncTransport
from command_dispatcher.client.core import UNSET, Request, Retries, new_key
from command_dispatcher.client.errors import GaveUpWaiting
from command_dispatcher.client.options import SendOptions
from command_dispatcher.client.settings import TIMEOUT
from command_dispatcher.client.waiting import AT_ONCE, ENDED, LONGEST_WAIT, TRANSIENT, OnFailure, pauses, result_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from command_dispatcher.client import models


class AsyncSent:
    """A command that the service has accepted."""

    def __init__(self, client: "AsyncClient", accepted: "models.CommandInfo", idempotency_key: str) -> None:
        self._client = client
        self.accepted = accepted
        """The command as it was when it was accepted."""
        self.idempotency_key = idempotency_key

    @property
    def id(self) -> str:
        """The command's id."""
        return self.accepted.command_id

    async def state(self) -> "models.CommandInfo":
        """Read the command as it is now."""
        return await self._client.commands.get(self.id)

    async def why(self) -> "models.Why":
        """Ask for the one reason why the command is where it is."""
        return await self._client.commands.why(self.id)

    async def cancel(self) -> "models.CommandInfo":
        """Cancel it, or ask its agent to stop it."""
        return await self._client.commands.cancel(self.id)

    async def wait(self, timeout: float | None = None) -> "models.CommandInfo":
        """Wait until the command has ended, well or not, and return it; raises GaveUpWaiting after `timeout` seconds."""
        return await self._client.wait(self.id, timeout)

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for the command's result; raises CommandFailed, or GaveUpWaiting after `timeout` seconds."""
        return result_of(await self.wait(timeout))


class AsyncClient(AsyncOperations):
    """An operator at one service: `sent = await client.send("edge-1", "restart", {"now": True}); await sent.wait()`.

    `client.agents`, `client.commands` and the others have every operation of the API.  GETs and submissions are repeated
    after a transient failure: a submission has an idempotency key, so it has one effect.  One client may serve many tasks.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = TIMEOUT,
        retries: Retries | None = None,
    ) -> None:
        """`url` and `token` are those of DISPATCHER_URL and DISPATCHER_TOKEN unless given; `timeout` in seconds."""
        address = url or os.environ.get("DISPATCHER_URL")
        if not address:
            raise ValueError("give the URL of the service, or set DISPATCHER_URL")
        self._connection = AsyncTransport(
            address, token or os.environ.get("DISPATCHER_TOKEN"), timeout=timeout, retries=retries or Retries()
        )
        super().__init__(self._connection)

    async def send(
        self,
        agent_id: str,
        action: str,
        payload: Any = UNSET,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[SendOptions],
    ) -> AsyncSent:
        """Submit a command; `options` are those of SendOptions, such as ttl_seconds=60.

        A key is made unless one is given; the same key with the same command gives the same command again.
        """
        key = idempotency_key or new_key()
        accepted = await self.commands.submit(agent_id, action=action, payload=payload, idempotency_key=key, **options)
        return AsyncSent(self, accepted, key)

    async def wait(self, command_id: str, timeout: float | None = None) -> "models.CommandInfo":
        """Wait until a command has ended; raises GaveUpWaiting after `timeout` seconds."""
        async for command in self.watch(command_id, timeout):
            if command.status in ENDED:
                return command
        raise GaveUpWaiting(f"command {command_id} has not ended within {timeout:g} seconds")

    async def watch(
        self, command_id: str, timeout: float | None = None, *, on_failure: OnFailure | None = None
    ) -> "AsyncIterator[models.CommandInfo]":
        """Yield a command each time that it is read, until it has ended or `timeout` seconds have passed.

        With `on_failure`, transient failures are passed to it, and the command is asked for again.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for seconds in pauses():
            left = seconds
            try:
                command = await self.commands.get(command_id)
            except TRANSIENT as failure:
                if on_failure is None:
                    raise
                on_failure(failure)
            else:
                yield command
                if command.status in ENDED:
                    return
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
            await asyncio.sleep(min(seconds, left))

    async def follow(
        self,
        after: str | None = None,
        *,
        types: "Sequence[models.EventType] | None" = None,
        agent_id: str | None = None,
        selector: str | None = None,
        on_failure: OnFailure | None = None,
    ) -> "AsyncIterator[models.Event]":
        """Yield events as they happen, without an end; `after` is a page's `after`, "start", or None: from now on.

        With `on_failure`, transient failures are passed to it, and the feed goes on where it was.
        """
        quiet = pauses()
        while True:
            asked = time.monotonic()
            try:
                page = await self.events.read(
                    after=after, types=types, agent_id=agent_id, selector=selector, wait=LONGEST_WAIT
                )
            except TRANSIENT as failure:
                if on_failure is None:
                    raise
                on_failure(failure)
                await asyncio.sleep(next(quiet))
                continue
            for event in page.events:
                yield event
            after = page.after
            # A service in which too many wait already answers at once.
            if page.events or time.monotonic() - asked >= AT_ONCE:
                quiet = pauses()
            else:
                await asyncio.sleep(next(quiet))

    async def call(self, sent: Request, timeout: float | None = None) -> Any:
        """Send any request and return the decoded answer, for what the other methods do not cover."""
        return await self._connection.run(sent, timeout)

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
