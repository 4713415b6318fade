"""Messages to webhooks: the body that Standard Webhooks recommends, signed with each secret that is valid."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from dispatcher.platform.json_text import dumps
from dispatcher.webhooks.sending import Message
from dispatcher.webhooks.signing import secret_of, signature_of


def message_id_of(webhook_id: UUID, event_id: str) -> str:
    """Return the id of a message: the same at each try, so that a receiver can drop what it has got before."""
    return f"msg_{webhook_id.hex}_{event_id}"


def signed(
    message_id: str,
    event_type: str,
    at: datetime,
    data: Mapping[str, Any],
    *,
    key: str,
    secret_ids: Sequence[UUID],
    now: datetime,
) -> Message:
    """Make a message about something that happened at `at`, signed at `now`."""
    body = dumps({"type": event_type, "timestamp": at, "data": data})
    secrets = [secret_of(key, secret_id) for secret_id in secret_ids]
    return Message(
        message_id=message_id,
        timestamp=int(now.timestamp()),
        signature=signature_of(secrets, message_id, now, body),
        body=body,
    )
