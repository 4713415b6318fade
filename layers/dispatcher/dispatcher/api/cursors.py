"""Cursors: opaque to callers, so that the order of a list can change without breaking them."""

import base64
import binascii

from dispatcher.errors import InvalidRequest

PAGE_MOST = 200


def encode(position: str | int) -> str:
    """Return the cursor of a place in a list."""
    return base64.urlsafe_b64encode(str(position).encode()).decode().rstrip("=")


def decode(cursor: str) -> str:
    """Return the place that a cursor stands for; raises InvalidRequest."""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidRequest("This is not a cursor that came from this list.") from None


def decode_number(cursor: str) -> int:
    """Return the number that a cursor stands for; raises InvalidRequest."""
    position = decode(cursor)
    if not (position.isascii() and position.isdecimal() and len(position) <= 18):  # noqa: PLR2004 - a bigint's digits
        raise InvalidRequest("This is not a cursor that came from this list.")
    return int(position)
