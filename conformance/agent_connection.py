"""One WebSocket connection of an agent, frame by frame: the kit checks what WebSocket libraries hide."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Generator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from conformance.message_codec import DecodedMessage, decode, encode_received

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """A message of the agent; `frame_sizes` are in bytes."""

    at: float
    data: bytes
    is_text: bool
    frame_sizes: tuple[int, ...]
    decoded: DecodedMessage


class AgentConnection:
    """An open connection and everything that arrived over it."""

    def __init__(self, request: Request, websocket: ServerProtocol, writer: asyncio.StreamWriter) -> None:
        self.query = dict(parse_qsl(urlsplit(request.path).query, keep_blank_values=True))
        self.headers = request.headers
        self.opened_at = time.monotonic()
        self.protocol = 2 if self.query.get("protocol") == "2" else 1
        self.messages: list[ReceivedMessage] = []
        self.pings = 0
        self.pongs: list[bytes] = []
        self.closed = False
        self.confirms = True
        """Whether reports with an id are confirmed."""
        self._websocket = websocket
        self._writer = writer
        self._frames: list[Frame] = []
        self._wrote_eof = False

    def describe_end(self) -> str:
        """Say how the connection ended."""
        if not self.closed:
            return "the connection is open"
        close = self._websocket.close_rcvd
        return "the agent dropped the connection" if close is None else f"the agent closed the connection ({close})"

    def send(self, *texts: str, close: int | None = None) -> None:
        """Send messages, and after them a close frame with this code."""
        with self._writing() as websocket:
            for text in texts:
                websocket.send_text(text.encode())
            if close is not None:
                websocket.send_close(close)

    def send_fragments(self, text: str, count: int) -> None:
        """Send one message in this number of frames, with a ping after the first."""
        data = text.encode()
        size = -(-len(data) // count)
        first, *others = (data[start : start + size] for start in range(0, len(data), size))
        with self._writing() as websocket:
            websocket.send_text(first, fin=False)
            websocket.send_ping(b"between fragments")
            for piece in others:
                websocket.send_continuation(piece, fin=piece is others[-1])

    def send_ping(self, data: bytes) -> None:
        """Send a WebSocket ping."""
        with self._writing() as websocket:
            websocket.send_ping(data)

    @contextlib.contextmanager
    def _writing(self) -> Generator[ServerProtocol]:
        """Write what is sent; write nothing over a closing connection."""
        with contextlib.suppress(InvalidState):
            yield self._websocket
        self.flush()

    def abort(self) -> None:
        """Cut the connection without a close frame."""
        reset(self._writer)

    def receive(self, frame: Frame) -> None:
        """Keep a frame of the agent."""
        match frame.opcode:
            case Opcode.PING:
                self.pings += 1
            case Opcode.PONG:
                self.pongs.append(bytes(frame.data))
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                self._frames.append(frame)
                if frame.fin:
                    self._finish_message()
            case _:
                pass

    def flush(self) -> None:
        """Write everything in one segment if it fits, so that nothing arrives between a command and the close after it."""
        pieces = self._websocket.data_to_send()
        if self._wrote_eof:
            return
        self._writer.write(b"".join(pieces))
        # websockets requests the end of the stream with an empty piece.
        if b"" in pieces and self._writer.can_write_eof() and not self._writer.is_closing():
            self._wrote_eof = True
            self._writer.write_eof()

    def _finish_message(self) -> None:
        frames, self._frames = self._frames, []
        data = b"".join(bytes(frame.data) for frame in frames)
        decoded = decode(self.protocol, data)
        if decoded.message_id is not None and self.confirms:
            self.send(encode_received(decoded.message_id))
        self.messages.append(
            ReceivedMessage(
                at=time.monotonic(),
                data=data,
                is_text=frames[0].opcode is Opcode.TEXT,
                frame_sizes=tuple(len(frame.data) for frame in frames),
                decoded=decoded,
            )
        )


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset a TCP connection."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
