"""Cursors of lists: opaque to callers, so that the order of a list can change."""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from dispatcher.errors import InvalidRequest

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PAGE_MOST = 200
PAGE_BYTES = 1_000_000
"""Where a page ends that has fewer rows.  Lambda takes 6 MB, and escapes the page once more."""


def encode(position: str | int) -> str:
    """Return the cursor for a position in a list."""
    return base64.urlsafe_b64encode(str(position).encode()).decode().rstrip("=")


def decode(cursor: str) -> str:
    """Return the position in a cursor; raises InvalidRequest."""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidRequest("This cursor does not come from this list.") from None


def decode_number(cursor: str) -> int:
    """Return the number in a cursor; raises InvalidRequest."""
    position = decode(cursor)
    if not (position.isascii() and position.isdecimal() and len(position) <= 18):  # noqa: PLR2004 - a bigint's digits
        raise InvalidRequest("This cursor does not come from this list.")
    return int(position)


def encode_moment(moment: datetime, number: int) -> str:
    """Return the position of a moment and a number, for `encode`."""
    return f"{(moment - _EPOCH) // timedelta(microseconds=1)}.{number}"


def decode_moment(cursor: str) -> tuple[datetime, int]:
    """Return the moment and the number in a cursor; raises InvalidRequest."""
    match = re.fullmatch(r"([0-9]{1,18})\.([0-9]{1,18})", decode(cursor), re.ASCII)
    try:
        if match:
            return _EPOCH + timedelta(microseconds=int(match[1])), int(match[2])
    except OverflowError:
        pass
    raise InvalidRequest("This cursor does not come from this list.")


def next_cursor(page: Sequence[T], limit: int, position: Callable[[T], str | int]) -> str | None:
    """Return the cursor of the next page; None after the last page."""
    return encode(position(page[-1])) if len(page) == limit else None
