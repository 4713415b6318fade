"""One WebSocket on a transport: frames in and out, with the sans-I/O core of websockets."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # it is compiled, and not on each machine
    from websockets.utils import apply_mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.http11 import Request, Response
    from websockets.typing import Subprotocol

MESSAGE_LIMIT = 128 * 1024  # bytes, for both directions
FRAME_LIMIT = 32 * 1024  # bytes, from the client
_ECHO_SECONDS = 10.0  # that a client has for its half of the closing handshake
_STUCK_SECONDS = 1.0  # the same, for a client that does not read
_LINGER_SECONDS = 2.0  # that a client has to close its end of the connection
_WHOLE_TEXT, _MASKED, _TWO_BYTES = 0x81, 128, 126  # a frame's first byte; in its second: has a mask; the length follows
_SHORT = 6  # bytes of the shortest head, with the mask
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class WebSocket(asyncio.Protocol):
    """An open socket.  `on_message` gets each message, `on_end` once the close code and reason; no message follows."""

    def __init__(self, on_message: Callable[[str | bytes], None], on_end: Callable[[int, str], None]) -> None:
        # The handshake is not read by the core: its request was parsed before.
        self._core = ServerProtocol(max_size=(MESSAGE_LIMIT, FRAME_LIMIT), state=State.OPEN)
        self._on_message = on_message
        self._on_end = on_end
        self._transport: asyncio.Transport
        self._parts: list[bytes] = []
        self._is_text = True
        self._has_ended = False
        self._is_closing = False  # by this side: what the client still sends is not handled
        self._writable: asyncio.Future[None] | None = None

    def response_to(self, handshake: Request) -> Response:
        """Return the response to a handshake: 101, or a refusal of one that breaks the protocol."""
        return self._core.accept(handshake)

    def start(self, transport: asyncio.Transport, response: Response, subprotocol: str | None, early: bytes) -> None:
        """Accept the handshake and take over the transport; `early` is what the client has already sent."""
        if subprotocol is not None:
            chosen: Subprotocol | str = subprotocol
            response.headers["Sec-WebSocket-Protocol"] = chosen
        self._transport = transport
        transport.set_protocol(self)
        transport.write(response.serialize())
        if early:
            self.data_received(early)

    @property
    def is_stuck(self) -> bool:
        """Tell whether the client does not read, and the buffer for it is full."""
        return self._writable is not None

    async def until_writable(self, seconds: float) -> bool:
        """Wait until the buffer has room; tell whether it has."""
        deadline = time.monotonic() + seconds
        while self._writable is not None and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait([self._writable], timeout=left)
        return self._writable is None

    def send(self, data: bytes) -> None:
        """Send a message, as text if it is UTF-8.  Raises ConnectionError if the socket is closed."""
        if self._core.state is not State.OPEN or self._transport.is_closing():
            raise ConnectionError
        if _is_utf8(data):
            self._core.send_text(data)
        else:
            self._core.send_binary(data)
        self._flush()

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake; a client that does not answer it is cut off."""
        if self._core.state is not State.OPEN:
            return
        self._is_closing = True
        self._core.send_close(code, reason)
        self._flush()
        self._cut_later(_STUCK_SECONDS if self.is_stuck else _ECHO_SECONDS)

    def cut(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def pause(self) -> None:
        """Read nothing for now."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # ── What the transport tells ──────────────────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        """Take a part of the client's frames; pings are answered by the core."""
        data = self._take_texts(data)
        if not data:
            return
        core = self._core
        core.receive_data(data)
        for frame in core.events_received():
            if isinstance(frame, Frame) and frame.opcode in _DATA:
                self._take(frame.opcode, bytes(frame.data), fin=frame.fin)
        self._flush()
        if core.parser_exc is not None and core.close_sent is not None:
            self._end(core.close_sent.code, core.close_sent.reason)
        elif core.close_rcvd is not None:
            self._end(core.close_rcvd.code, core.close_rcvd.reason)

    def eof_received(self) -> bool:
        """Close: a client that sends no more is gone."""
        self._end(1006, "")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a connection that was lost without a close frame."""
        del exc
        self.resume_writing()
        self._end(1006, "")

    def pause_writing(self) -> None:
        """Note that the buffer is full."""
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Note that the buffer has room."""
        waiting, self._writable = self._writable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # ── Frames ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _take_texts(self, data: bytes) -> bytes:
        """Take the texts that `data` begins with, each whole and in one frame; return the rest.

        Most messages are such texts, and the core costs four times as much.  It gets all that may break the protocol.
        """
        position = 0
        if self._core.reader.buffer or self._parts or self._has_ended:
            return data
        while len(data) >= position + _SHORT and data[position] == _WHOLE_TEXT and self._core.state is State.OPEN:
            length, start = data[position + 1] - _MASKED, position + _SHORT
            if length == _TWO_BYTES:
                length, start = int.from_bytes(data[position + 2 : position + 4], "big"), start + 2
            elif not 0 <= length < _TWO_BYTES:
                break
            end = start + length
            if length > FRAME_LIMIT or end > len(data):
                break
            try:
                text = str(apply_mask(data[start:end], data[start - 4 : start]), "utf-8")
            except UnicodeDecodeError:
                break
            position = end
            self._on_message(text)
        return data[position:]

    def _take(self, opcode: Opcode, data: bytes, *, fin: bool) -> None:
        if opcode is not Opcode.CONT:
            self._is_text = opcode is Opcode.TEXT
        if not fin or self._parts:
            self._parts.append(data)
            if not fin:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        if self._has_ended or self._is_closing:
            return
        if not self._is_text:
            self._on_message(data)
            return
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            self._core.fail(1007, "The text is not UTF-8")
            self._end(1007, "The text is not UTF-8")
        else:
            self._on_message(text)

    def _flush(self) -> None:
        for data in self._core.data_to_send():
            if data:
                self._transport.write(data)
            elif not self._transport.is_closing():  # the end of what is sent
                self._transport.write_eof()
                self._cut_later(_LINGER_SECONDS)

    def _cut_later(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self.cut)

    def _end(self, code: int, reason: str) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._on_end(code, reason)


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
