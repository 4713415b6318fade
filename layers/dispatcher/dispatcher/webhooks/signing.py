"""Signatures of webhooks, as the Standard Webhooks specification has them, and the secrets that make them.

A secret is computed from its id, which the table holds, and the key of all webhooks, which it does not hold.  So a copy of the
database signs nothing, and the sender's secret is there whenever it is needed.
"""

import base64
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from standardwebhooks import Webhook

PREFIX = "whsec_"


def secret_of(key: str, secret_id: UUID) -> str:
    """Compute the secret with this id: 256 bits, in the form that every Standard Webhooks library reads."""
    digest = hmac.digest(key.encode(), b"webhook secret:" + secret_id.bytes, "sha256")
    return PREFIX + base64.b64encode(digest).decode()


def signature_of(secrets: Iterable[str], message_id: str, at: datetime, body: str) -> str:
    """Return the header `webhook-signature`: one signature for each secret, with a space between them."""
    return " ".join(Webhook(secret).sign(message_id, at.astimezone(UTC), body) for secret in secrets)
