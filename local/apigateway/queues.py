"""SQS for one machine: FIFO queues, each with a function that handles its messages.

A message is answered once it is on the disk.  The messages of a group are handled in order: its next batch comes when
the former one has succeeded; other groups are handled meanwhile.  A failed batch is repeated until it succeeds, and a
message may be handled more than once.  Unlike those of SQS, messages here have no age at which they are dropped.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.apigateway.queue_store import Accepted, Draft, Message, QueueStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from local.lambda_runtime.runtime import Result, Runtime
    from local.sam_template.resources import Queue

BATCHES = 4
"""Batches, each of one group, that a queue's function handles at a time."""
PAUSES = (1.0, 2.0, 5.0)
"""Seconds before a group's failed messages are repeated; the last one holds for all further failures."""


class Queues:
    """The queues of a runtime's deployment; their messages are in `file`, or in memory for None.

    `log(function, line)` gets what goes wrong with the file.  Raises QueueFileError.
    """

    def __init__(
        self,
        runtime: Runtime,
        file: Path | None = None,
        *,
        log: Callable[[str, str], None] = lambda _function, _line: None,
    ) -> None:
        queues = runtime.deployment.queues
        # SQLite waits for the disk: in a thread of its own, which also puts its calls in order.
        self._thread = ThreadPoolExecutor(1, "queues")
        self._store = QueueStore(file if queues else None)
        self._consumers = {queue.name: _Consumer(queue, runtime, self._store, self._in_thread, log) for queue in queues}
        self._sending: list[tuple[Draft, asyncio.Future[Accepted]]] = []
        self._committing: asyncio.Task[None] | None = None

    def find(self, name: str) -> Queue | None:
        """Return a queue by its name."""
        consumer = self._consumers.get(name)
        return consumer.queue if consumer else None

    async def send(self, draft: Draft) -> Accepted:
        """Store a message for one of the queues; it is on the disk when this returns.  Raises sqlite3.Error."""
        accepted: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._sending.append((draft, accepted))
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit())
        return await accepted

    async def run(self) -> None:
        """Have the functions handle messages until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for consumer in self._consumers.values():
                tasks.create_task(consumer.run())

    async def close(self) -> None:
        """Close the file, after what is being stored."""
        if self._committing is not None:
            await self._committing
        await self._in_thread(self._store.close)
        self._thread.shutdown()

    async def _commit(self) -> None:
        """Store what has arrived, all in one transaction, until nothing is left: so many senders share a disk's wait."""
        while self._sending:
            sending, self._sending = self._sending, []
            try:
                stored = await self._in_thread(self._store.append, [draft for draft, _ in sending])
            except Exception as error:  # noqa: BLE001 - each sender gets it
                for _, accepted in sending:
                    if not accepted.done():
                        accepted.set_exception(error)
                continue
            for (draft, accepted), receipt in zip(sending, stored, strict=True):
                if not accepted.done():  # done: the sender has gone
                    accepted.set_result(receipt)
                self._consumers[draft.queue].wake(draft.group_id)

    async def _in_thread(self, method: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, method, *arguments)


@dataclass(slots=True)
class _Group:
    """A group with messages: whether some came since its last look into the file, and its failures in a row."""

    more: bool = False
    failures: int = 0


class _Consumer:
    """Has one queue's function handle its messages."""

    def __init__(
        self,
        queue: Queue,
        runtime: Runtime,
        store: QueueStore,
        in_thread: Callable[..., Any],
        log: Callable[[str, str], None],
    ) -> None:
        self.queue = queue
        self._runtime = runtime
        self._store = store
        self._in_thread = in_thread
        self._log = log
        self._groups: dict[str, _Group] = {}
        self._ready: asyncio.Queue[str] = asyncio.Queue()

    def wake(self, group_id: str) -> None:
        """Note that a group has a new message."""
        if group := self._groups.get(group_id):
            group.more = True
        else:
            self._groups[group_id] = _Group()
            self._ready.put_nowait(group_id)

    async def run(self) -> None:
        """Handle batches until cancelled."""
        # An earlier run may have left some.
        for group_id in await self._in_thread(self._store.groups, self.queue.name):
            self.wake(group_id)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(BATCHES):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            group_id = await self._ready.get()
            group = self._groups[group_id]
            group.more = False
            try:
                messages: list[Message] = await self._in_thread(
                    self._store.first, self.queue.name, group_id, self.queue.batch_size
                )
                handled = await self._handle(messages)
            except Exception as error:  # noqa: BLE001 - a full disk or anything else: the other groups must go on
                self._log(self.queue.function, f"Error: the queue {self.queue.name} cannot be used: {error!r}")
                messages, handled = [], -1
            if handled < len(messages):
                pause = PAUSES[min(group.failures, len(PAUSES) - 1)]
                group.failures += 1
                loop.call_later(pause, self._ready.put_nowait, group_id)
            elif messages or group.more:
                group.failures = 0
                self._ready.put_nowait(group_id)
            else:
                del self._groups[group_id]

    async def _handle(self, messages: list[Message]) -> int:
        """Have the function handle a batch, and settle it; return how many messages, from the first on, succeeded."""
        if not messages:
            return 0
        records = [_record(self.queue, message, self._runtime.deployment.region) for message in messages]
        result = await self._runtime.invoke(self.queue.function, {"Records": records})
        handled = _successes(self.queue, messages, result)
        await self._in_thread(self._store.settle, messages[:handled], messages[handled:])
        return handled


def _record(queue: Queue, message: Message, region: str) -> dict[str, object]:
    """Return a message as a function gets it."""
    return {
        "messageId": message.message_id,
        "receiptHandle": str(uuid.uuid4()),
        "body": message.body,
        "attributes": {
            "ApproximateReceiveCount": str(message.receives + 1),
            "MessageDeduplicationId": message.deduplication_id,
            "MessageGroupId": message.group_id,
            "SentTimestamp": str(message.sent_at),
            "SequenceNumber": sequence_number(message.sequence),
        },
        "messageAttributes": {},
        "md5OfBody": md5(message.body),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn,
        "awsRegion": region,
    }


def _successes(queue: Queue, messages: list[Message], result: Result) -> int:
    """Return how many messages, from the first on, were handled; an answer that cannot be understood is a failure of all."""
    if result.failed:
        return 0
    answer = result.json() if queue.reports_failures else None
    if not answer:
        return len(messages)
    places = {message.message_id: place for place, message in enumerate(messages)}
    try:
        failures = [places[failure["itemIdentifier"]] for failure in answer.get("batchItemFailures") or ()]
    except (AttributeError, KeyError, TypeError):
        return 0
    return min(failures, default=len(messages))


def sequence_number(sequence: int) -> str:
    """Return a message's place in its queue as SQS writes it: texts in the order of the numbers."""
    return f"{sequence:020d}"


def md5(text: str) -> str:
    """Return the digest with which SQS's clients check what has arrived."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
