"""A server of bare websockets in its own process, without a database: what the sockets alone allow.

    python -m bench.bare_websockets PORT

It sends `count` commands to each connection, as its query says, WINDOW in a message, and waits for an answer to each.
"""

import asyncio
import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bench.peers import free_port, serving

WINDOW = 100
_COMMANDS = [
    {
        "commandId": f"cmd-{number:032x}",
        "attempt": 1,
        "action": "noop",
        "sessionId": None,
        "payload": {"text": "x" * 100},
        "executionTimeoutSeconds": 600,
    }
    for number in range(WINDOW)
]
_FRAME = json.dumps({"type": "commands", "commands": _COMMANDS})


async def _handle(socket: ServerConnection) -> None:
    path = socket.request.path if socket.request else ""
    count = int(parse_qs(urlsplit(path).query).get("count", ["0"])[0])
    try:
        for _ in range(count // WINDOW):
            await socket.send(_FRAME)
            json.loads(await socket.recv())
        if count:
            await socket.close()
        await socket.wait_closed()
    except ConnectionClosed:
        return


async def _serve(port: int) -> None:
    async with serve(_handle, "127.0.0.1", port, compression=None, ping_interval=None) as server:
        await server.serve_forever()


@contextmanager
def running(folder: Path) -> Generator[str]:
    """Run it in its own process; yield its URL."""
    port = free_port()
    folder.mkdir(parents=True)
    with serving([sys.executable, "-m", "bench.bare_websockets", str(port)], port, folder / "output"):
        yield f"ws://127.0.0.1:{port}/"


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
