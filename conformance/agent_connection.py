"""One WebSocket of an agent, frame by frame: what libraries hide is what has to be checked."""

import asyncio
import contextlib
import socket
import struct
import time
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from conformance.codec import Said, decode
from conformance.notifier import Bell

_ABORT = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message of the agent, with the sizes of its frames in bytes."""

    at: float
    data: bytes
    text: bool
    frames: tuple[int, ...]
    said: Said


class Link:
    """An open connection, and all that came over it."""

    def __init__(self, request: Request, machine: ServerProtocol, writer: asyncio.StreamWriter, bell: Bell) -> None:
        """Take over a connection whose handshake is done."""
        self.query = dict(parse_qsl(urlsplit(request.path).query, keep_blank_values=True))
        self.headers = request.headers
        self.opened_at = time.monotonic()
        self.messages: list[Message] = []
        self.pings = 0
        self.pongs: list[bytes] = []
        self.closed = False
        self._machine = machine
        self._writer = writer
        self._bell = bell
        self._partial: list[Frame] = []

    @property
    def protocol(self) -> int:
        """The protocol that the agent asked for."""
        return 2 if self.query.get("protocol") == "2" else 1

    @property
    def end(self) -> str:
        """How the connection ended, for people."""
        if not self.closed:
            return "the connection is open"
        close = self._machine.close_rcvd
        return "the agent dropped the connection" if close is None else f"the agent closed the connection ({close})"

    def send(self, *texts: str, close: int | None = None) -> None:
        """Send messages, and a close frame behind them, in one go."""
        with contextlib.suppress(InvalidState):
            for text in texts:
                self._machine.send_text(text.encode())
            if close is not None:
                self._machine.send_close(close)
        self.flush()

    def send_fragments(self, text: str, count: int) -> None:
        """Send one message in so many frames, with a ping in between."""
        data = text.encode()
        size = -(-len(data) // count)
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        with contextlib.suppress(InvalidState):
            self._machine.send_text(pieces[0], fin=False)
            self._machine.send_ping(b"between fragments")
            for piece in pieces[1:]:
                self._machine.send_continuation(piece, fin=piece is pieces[-1])
        self.flush()

    def ping(self, data: bytes) -> None:
        """Send a WebSocket ping."""
        with contextlib.suppress(InvalidState):
            self._machine.send_ping(data)
        self.flush()

    def abort(self) -> None:
        """Cut the connection, without a goodbye."""
        cut(self._writer)

    def take(self, frame: Frame) -> None:
        """Note a frame of the agent."""
        match frame.opcode:
            case Opcode.PING:
                self.pings += 1
            case Opcode.PONG:
                self.pongs.append(bytes(frame.data))
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                self._partial.append(frame)
                if frame.fin:
                    self._complete()
            case _:
                pass
        self._bell.ring()

    def flush(self) -> None:
        """Write what the protocol has to say, in one segment where it fits: nothing comes between a command and a close."""
        pieces = self._machine.data_to_send()
        self._writer.write(b"".join(pieces))
        if b"" in pieces and self._writer.can_write_eof() and not self._writer.is_closing():
            self._writer.write_eof()

    def ended(self) -> None:
        """Note that nothing more will come."""
        self.closed = True
        self._bell.ring()

    def _complete(self) -> None:
        frames, self._partial = self._partial, []
        data = b"".join(bytes(frame.data) for frame in frames)
        self.messages.append(
            Message(
                at=time.monotonic(),
                data=data,
                text=frames[0].opcode is Opcode.TEXT,
                frames=tuple(len(frame.data) for frame in frames),
                said=decode(self.protocol, data),
            )
        )


def cut(writer: asyncio.StreamWriter) -> None:
    """Reset a TCP connection."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    writer.transport.abort()
