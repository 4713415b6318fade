"""The frames of a client, however they arrive."""

import asyncio
from typing import Any, cast

import pytest
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Response

from local.apigateway.websocket_protocol import FRAME_LIMIT, WebSocket


class _Transport:
    """Takes what is written."""

    def write(self, data: bytes) -> None:
        """Take it."""

    def abort(self) -> None:
        """Close."""

    def write_eof(self) -> None:
        """Take the end."""

    def is_closing(self) -> bool:
        """Tell that it is open."""
        return False

    def set_protocol(self, protocol: object) -> None:
        """Take it."""


def opened() -> tuple[WebSocket, list[str | bytes], list[int]]:
    """Return a socket, the messages that it gets, and the codes with which it ends."""
    messages: list[str | bytes] = []
    ends: list[int] = []
    socket = WebSocket(messages.append, lambda code, _reason: ends.append(code))
    socket.start(cast("Any", _Transport()), Response(101, "", Headers()), None, b"")
    return socket, messages, ends


def frame(data: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True, mask: bool = True) -> bytes:
    """Return a frame as a client sends it."""
    return Frame(opcode, data, fin=fin).serialize(mask=mask)


@pytest.mark.parametrize("length", [0, 1, 2, 125, 126, 127, 254, 65_535 // 2, FRAME_LIMIT])
def test_a_text_arrives_in_one_piece_or_in_two(length: int) -> None:
    """Of any length that is allowed, cut anywhere in its head."""
    text = "ü" * (length // 2) + "x" * (length % 2)
    data = frame(text.encode())

    for cut in (0, 1, 2, 3, 7, 9, len(data) - 1):
        socket, messages, ends = opened()
        for part in (data[:cut], data[cut:]):
            if part:
                socket.data_received(part)
        assert (messages, ends) == ([text], []), cut


def test_a_text_that_follows_others_in_one_piece_arrives_after_them() -> None:
    """Also when it is whole itself, and a part of another one came before."""
    socket, messages, _ = opened()

    first, second, third = (frame(text) for text in (b"first one", b"second one", b"third one"))
    socket.data_received(first + second + third[:9])
    socket.data_received(third[9:])
    socket.data_received(first)

    assert messages == ["first one", "second one", "third one", "first one"]


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([frame(b"no mask, in a frame", mask=False)], 1002),
        ([frame(b"the beginning", fin=False), frame(b"not its end")], 1002),
        ([frame(b"x" * (FRAME_LIMIT + 1))], 1009),
        ([frame(b"\xff not UTF-8")], 1007),
    ],
)
def test_a_frame_that_breaks_the_protocol_ends_the_connection(parts: list[bytes], code: int) -> None:
    """And is no message."""
    socket, messages, ends = opened()

    async def receive() -> None:
        for part in parts:
            socket.data_received(part)

    asyncio.run(receive())  # it has a timer for what the client still sends

    assert (messages, ends) == ([], [code])
