"""One host for both APIs, like CloudFront on AWS (the parameter `FrontDoor` of the template).

`/api/v1/agents/connect` leads to the WebSocket API's stage, everything else to the HTTP API.  Existing agents know only
one URL.  It changes a request's first line and passes the rest on, both ways, byte for byte.
"""

import asyncio
import contextlib
import re
import threading
from collections.abc import Generator
from dataclasses import dataclass
from urllib.parse import urlsplit

CONNECT = b"/api/v1/agents/connect"
HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Where the two APIs are: URLs on one host."""

    http: str
    sockets: str


@contextlib.contextmanager
def opened(origins: Origins) -> Generator[str]:
    """Serve on a free port of 127.0.0.1 in a new thread; yield the URL."""
    loop = asyncio.new_event_loop()
    passing: set[asyncio.Task[None]] = set()  # asyncio itself keeps no task

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = loop.create_task(_pass(reader, writer, origins))
        passing.add(task)
        task.add_done_callback(passing.discard)

    server = loop.run_until_complete(asyncio.start_server(accept, "127.0.0.1", 0, limit=HEAD_BYTES))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def rewritten(head: bytes, origins: Origins) -> bytes:
    """Return the head of a request as the origin gets it: its path, its Host, one request a connection."""
    line, *headers = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, target, version = line.split(b" ", 2)
    path, mark, query = re.sub(b"^/+", b"/", target).partition(b"?")
    is_socket = path == CONNECT
    origin = urlsplit(origins.sockets if is_socket else origins.http)
    to = origin.path.encode() + (b"" if is_socket else path)
    dropped = (b"host:",) if is_socket else (b"host:", b"connection:", b"keep-alive:")
    kept = [header for header in headers if not header.lower().startswith(dropped)]
    added = [b"Host: " + origin.netloc.encode(), *([] if is_socket else [b"Connection: close"])]
    return b"\r\n".join([b" ".join([method, to + mark + query, version]), *added, *kept]) + b"\r\n\r\n"


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, origins: Origins) -> None:
    with (
        contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError),
        contextlib.closing(writer),
    ):
        head = rewritten(await reader.readuntil(b"\r\n\r\n"), origins)
        origin = urlsplit(origins.http)
        from_origin, to_origin = await asyncio.open_connection(origin.hostname, origin.port or 80)
        with contextlib.closing(to_origin):
            to_origin.write(head)
            upwards = asyncio.create_task(_copy(reader, to_origin))
            # A client that has sent its request may close its half; the answer still has to reach it.
            await _copy(from_origin, writer)
            upwards.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # the connection of a killed client is reset
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


async def _end(server: asyncio.Server) -> None:
    server.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0)
