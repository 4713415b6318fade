"""NATS JetStream: a stream on disk, a durable consumer, batches of 100 that are acknowledged one by one."""

import asyncio
import contextlib
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from bench.mosquitto import BODY
from bench.peers import NATS, free_port

BATCH = 100
PUBLISHED_AT_ONCE = 500


class JetStream:
    """A running server."""

    def __init__(self, port: int) -> None:
        self._url = f"nats://127.0.0.1:{port}"
        self._rounds = 0

    async def flush(self, messages: int) -> float:
        """Publish to a consumer that is offline; return messages a second from its connect until all are acknowledged."""
        self._rounds += 1
        subject, durable = f"agents-{self._rounds}", f"agent-{self._rounds}"
        publisher: Any = await NATS.client.connect(self._url)
        stream: Any = publisher.jetstream()
        await stream.add_stream(name=subject, subjects=[subject])
        for start in range(0, messages, PUBLISHED_AT_ONCE):
            number = min(PUBLISHED_AT_ONCE, messages - start)
            await asyncio.gather(*(stream.publish(subject, BODY.encode()) for _ in range(number)))
        await stream.pull_subscribe(subject, durable=durable)
        await publisher.close()
        began = time.perf_counter()
        consumer: Any = await NATS.client.connect(self._url)
        subscription: Any = await consumer.jetstream().pull_subscribe(subject, durable=durable)
        received = 0
        while received < messages:
            batch = await subscription.fetch(min(BATCH, messages - received), timeout=10)
            for message in batch:
                await message.ack()
            received += len(batch)
        await consumer.flush()
        seconds = time.perf_counter() - began
        await consumer.close()
        return messages / seconds


@contextlib.contextmanager
def running(folder: Path) -> Generator[JetStream]:
    """Run a server with its data in a folder."""
    port = free_port()
    folder.mkdir(parents=True)
    with NATS.server("-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder), port=port, folder=folder):
        yield JetStream(port)
