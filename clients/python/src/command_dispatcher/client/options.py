"""The options of a submission."""

from datetime import datetime
from typing import Literal, TypedDict


class SendOptions(TypedDict, total=False):
    """What `send` takes beside action and payload; the API's defaults hold for what is left out."""

    session_id: str
    priority: int
    """Higher goes first; from -100 to 100."""
    ttl_seconds: int
    """It expires if it is not delivered within this time."""
    execution_timeout_seconds: int
    """It times out if no result comes within this time after the ack."""
    max_attempts: int
    not_before: datetime
    redeliver: Literal["afterAck"]
