"""Agents of the bench: many in one process, and cheap, because they share the processor with the product."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from bench.figures import BenchError
from bench.product import Agent, Product

WINDOW = 100
PAUSE_SECONDS = 0.2
"""Before an agent that was refused connects again."""
HEARTBEAT = json.dumps({"type": "heartbeat", "payload": {"status": "online", "activeSessions": 0}})
SERVER_ERROR = 500
HANDSHAKE_SECONDS, DRAIN_SECONDS = 120.0, 900.0

Answer = Callable[[dict[str, Any]], tuple[list[str], list[str]]]
"""Takes a message; returns the ids of its commands and the messages to answer with."""


def answer_first(message: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Answer as an agent of the first protocol: an ack, then the end, each in a message."""
    if message.get("type") != "command":
        return [], []
    command_id: str = message["payload"]["commandId"]
    return [command_id], [
        f'{{"type":"ack","payload":{{"commandId":"{command_id}"}}}}',
        f'{{"type":"complete","payload":{{"commandId":"{command_id}","result":{{"ok":true}}}}}}',
    ]


def answer_second(message: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Answer as an agent of the second protocol: one message with an ack and the end of each command."""
    if message.get("type") != "commands":
        return [], []
    commands = message["commands"]
    reports = ",".join(
        f'{{"kind":"ack","commandId":"{each["commandId"]}","attempt":{each["attempt"]}}},'
        f'{{"kind":"complete","commandId":"{each["commandId"]}","attempt":{each["attempt"]},"result":{{"ok":true}}}}'
        for each in commands
    )
    return [each["commandId"] for each in commands], [f'{{"type":"reports","reports":[{reports}]}}']


def dial(product: Product, agent: Agent, *, protocol: int = 2, window: int = WINDOW) -> connect:
    """Return the handshake of an agent, to be awaited."""
    second = f"&protocol=2&window={window}" if protocol > 1 else ""
    return connect(
        f"{product.url.replace('http', 'ws', 1)}/api/v1/agents/connect?agent_id={agent.agent_id}{second}",
        additional_headers={"X-Agent-Api-Key": agent.api_key},
        compression=None,
        proxy=None,
        ping_interval=None,
        open_timeout=HANDSHAKE_SECONDS,
        close_timeout=1,
        max_size=None,
    )


async def drain(product: Product, agents: Sequence[Agent], each: int, *, protocol: int = 2) -> float:
    """Connect all agents, execute `each` commands an agent; return the seconds until all are completed in the table."""
    received: list[set[str]] = [set() for _ in agents]
    finished = [asyncio.Event() for _ in agents]

    async def live(number: int) -> None:
        answer = answer_second if protocol > 1 else answer_first
        while True:
            try:
                async with dial(product, agents[number], protocol=protocol) as socket:
                    await execute(socket, answer, received[number], each, finished[number])
            except InvalidStatus as refused:
                if refused.response.status_code < SERVER_ERROR:
                    raise BenchError(f"an agent was refused: {refused}") from refused
            except (OSError, TimeoutError, WebSocketException):
                pass
            await asyncio.sleep(PAUSE_SECONDS)

    with product.database() as conn:
        began = time.perf_counter()
        async with background([live(number) for number in range(len(agents))]):
            try:
                async with asyncio.timeout(DRAIN_SECONDS):
                    await asyncio.gather(*(event.wait() for event in finished))
            except TimeoutError:
                got = f"{sum(map(len, received))} of {each * len(agents)}"
                raise BenchError(f"the agents got {got} commands in {DRAIN_SECONDS:.0f} s") from None
            await product.until_ended(conn, agents)
            seconds = time.perf_counter() - began  # the agents disconnect after this
        product.expect_completed(conn, agents, each * len(agents))
    return seconds


async def execute(
    socket: ClientConnection, answer: Answer, received: set[str], expected: int, finished: asyncio.Event
) -> None:
    """Answer every message until the socket closes; set `finished` when `expected` commands have been received."""
    async for text in socket:
        ids, replies = answer(json.loads(text))
        for reply in replies:
            await socket.send(reply)
        received.update(ids)
        if len(received) >= expected:
            finished.set()


@contextlib.asynccontextmanager
async def background(work: Sequence[Coroutine[Any, Any, None]]) -> AsyncGenerator[None]:
    """Run coroutines beside the block, and cancel them after it; an error of one ends the block."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
