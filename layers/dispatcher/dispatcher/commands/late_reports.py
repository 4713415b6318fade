"""What agents say while the database cannot be reached: a queue keeps it, and it is settled when the database is back.

The queue is FIFO for each agent.  It may deliver a message twice: a report that is settled twice changes nothing.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import psycopg

from dispatcher.commands.reports import Received, SessionObserver, receive
from dispatcher.platform import database, settings
from dispatcher.platform.observability import logger
from dispatcher.protocol.said import Said

if TYPE_CHECKING:
    from collections.abc import Callable

    from types_boto3_sqs import SQSClient

CONNECT_SECONDS, READ_SECONDS, TRIES = 1, 2, 2
KEEP_SECONDS = TRIES * (CONNECT_SECONDS + READ_SECONDS) + 1.0
"""The longest time that keeping a message takes, with the pause between the tries."""


GIVE_UP_AFTER = 10
"""How often a message is tried whose error does not pass by itself; on AWS that takes half an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A message of the queue."""

    message_id: str
    group: str
    said: Said
    receives: int
    """How often the queue has brought it, with this time."""


def keep(said: Said, event_id: str) -> None:
    """Keep a message until the database is back; raises botocore's errors if the queue does not take it.

    `event_id` tells two equal messages apart, and is the same if one event is handled twice.
    """
    _client().send_message(
        QueueUrl=settings.late_reports_queue() or "",
        MessageBody=json.dumps(said.as_document()),
        # A group's name is limited; an agent's id is not as strictly.
        MessageGroupId=hashlib.sha256(said.agent_id.encode()).hexdigest(),
        MessageDeduplicationId=hashlib.sha256(f"{said.connection_id} {event_id}".encode()).hexdigest(),
    )
    logger.warning("Message kept for later", extra={"agent_id": said.agent_id, "connection_id": said.connection_id})


def kept_of(event: dict[str, Any]) -> list[Kept]:
    """Read the event of the queue."""
    return [
        Kept(
            message_id=record["messageId"],
            group=record["attributes"]["MessageGroupId"],
            said=Said.from_document(json.loads(record["body"])),
            receives=int(record["attributes"]["ApproximateReceiveCount"]),
        )
        for record in event["Records"]
    ]


def settle_kept(
    kept: Sequence[Kept], observer: SessionObserver, answer: "Callable[[Said, Received], None]"
) -> list[str]:
    """Settle messages in their order; return the ids of those that the queue must bring again.

    After a message that could not be settled, the later ones of the same agent wait, too.  One that can never be settled is
    given to the queue of failed events, for people: it must not stop its agent for good.
    """
    waiting: set[str] = set()
    again: list[str] = []
    for message in kept:
        if message.group in waiting:
            again.append(message.message_id)
            continue
        try:
            with database.connect() as conn:
                received = receive(conn, message.said, observer)
        except psycopg.Error as error:
            # Also an error that does not pass by itself: it must not stop the messages of other agents.
            logger.warning(
                "Message not settled", extra={"agent_id": message.said.agent_id, "reason": type(error).__name__}
            )
            if isinstance(error, database.INTERRUPTIONS) or not _give_up(message, error):
                waiting.add(message.group)
                again.append(message.message_id)
        else:
            answer(message.said, received)
    return again


def _give_up(message: Kept, error: psycopg.Error) -> bool:
    """Give a message that was tried often enough to the queue of failed events; return whether that queue has it."""
    queue = settings.failed_events_queue()
    if queue is None or message.receives < GIVE_UP_AFTER:
        return False
    fields = {"agent_id": message.said.agent_id, "reason": type(error).__name__}
    try:
        _client().send_message(QueueUrl=queue, MessageBody=json.dumps({**fields, "said": message.said.as_document()}))
    except Exception:  # noqa: BLE001 - the message stays where it is
        logger.exception("Message not given up", extra=fields)
        return False
    logger.error("Message given up", extra=fields)
    return True


@cache
def _client() -> "SQSClient":
    import boto3  # noqa: PLC0415 - it is loaded only on a bad day
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client(
        "sqs",
        config=Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": TRIES, "mode": "standard"},
        ),
    )
