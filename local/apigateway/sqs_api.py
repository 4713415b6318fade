"""SQS's own API, as far as functions use it: SendMessage, in SQS's JSON protocol."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from typing import TYPE_CHECKING, Any, cast

from local.apigateway.aws_errors import Refused
from local.apigateway.queue_store import Draft
from local.apigateway.queues import md5, sequence_number

if TYPE_CHECKING:
    from local.apigateway.queues import Queues
    from local.sam_template.resources import Queue

BODY_LIMIT = 1024 * 1024  # bytes
_TARGET = "AmazonSQS."
_IDENTIFIER = re.compile(r"[!-~]{1,128}")
"""The ids of groups and of deduplication: ASCII letters, digits and punctuation."""
_BODY = re.compile("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
"""The characters that SQS accepts: those of XML 1.0."""


async def answer(queues: Queues, target: str, body: bytes) -> dict[str, str]:
    """Answer one call; raises Refused."""
    if target != f"{_TARGET}SendMessage":
        raise Refused(400, "UnsupportedOperation", f"{target.removeprefix(_TARGET)} is not supported here")
    try:
        given = json.loads(body)
    except ValueError as error:
        raise Refused(400, "SerializationException", f"Could not parse request body: {error}") from None
    return await _send(queues, cast("dict[str, Any]", given) if isinstance(given, dict) else {})


async def _send(queues: Queues, given: dict[str, Any]) -> dict[str, str]:
    queue = queues.find(str(given.get("QueueUrl")).rpartition("/")[2])
    if queue is None:
        raise Refused(400, "QueueDoesNotExist", "The specified queue does not exist.")
    for name in ("DelaySeconds", "MessageAttributes", "MessageSystemAttributes"):
        if given.get(name):
            raise _invalid(f"{name} is not supported here.")
    draft = _draft(queue, given)
    try:
        accepted = await queues.send(draft)
    except sqlite3.Error as error:
        raise Refused(503, "ServiceUnavailable", f"The message could not be stored: {error}") from None
    return {
        "MessageId": accepted.message_id,
        "MD5OfMessageBody": md5(draft.body),
        "SequenceNumber": sequence_number(accepted.sequence),
    }


def _draft(queue: Queue, given: dict[str, Any]) -> Draft:
    text, group_id = _text(given, "MessageBody"), _text(given, "MessageGroupId")
    if not _BODY.fullmatch(text):
        raise Refused(400, "InvalidMessageContents", "The message contains characters outside of the allowed set.")
    if len(text.encode()) > BODY_LIMIT:
        raise _invalid(f"One or more parameters are invalid. Reason: Message must be shorter than {BODY_LIMIT} bytes.")
    if queue.deduplicates_content and not given.get("MessageDeduplicationId"):
        deduplication_id = hashlib.sha256(text.encode()).hexdigest()
    else:
        deduplication_id = _text(given, "MessageDeduplicationId")
    for value in (group_id, deduplication_id):
        if not _IDENTIFIER.fullmatch(value):
            raise _invalid(
                f"{value:.128} can only include alphanumeric and punctuation characters. 1 to 128 in length."
            )
    return Draft(
        queue=queue.name,
        group_id=group_id,
        deduplication_id=deduplication_id,
        scope=group_id if queue.deduplicates_by_group else "",
        body=text,
    )


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(400, "MissingParameter", f"The request must contain the parameter {name}.")
    return value


def _invalid(message: str) -> Refused:
    return Refused(400, "InvalidParameterValue", message)
