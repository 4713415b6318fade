"""Runs the gateway of local/ in a thread, and waits for log lines of its functions and messages of its sockets."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from websockets.exceptions import ConnectionClosed

from local import ports
from local.apigateway.listener import Gateway
from local.apigateway.queues import Queues
from local.lambda_runtime.runtime import Runtime
from local.sam_template.resources import Deployment

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from websockets.sync.client import ClientConnection

    from local.credentials import Credentials
    from tests.gateway.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A gateway that serves: its URL, and the key for its AWS APIs."""

    url: str
    credentials: Credentials


@contextlib.contextmanager
def gateway_in_thread(
    template: Path, *, log: Callable[[str, str], None], queue_file: Path | None = None, **settings: Any
) -> Generator[Serving]:
    """Serve a template on a free port in a thread, with the given settings of the gateway.

    The template's parameter `Gateway` gets the URL.
    """
    ready = threading.Event()
    running: list[tuple[Callable[[], object], Credentials]] = []
    listener = ports.listen(0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    deployment = Deployment.load(template, {"Gateway": url}, url=url)

    async def run() -> None:
        runtime = Runtime(deployment, gateway_url=url, log=log, retry_delays=(0.05, 0.1), preload=["boto3"])
        queues = Queues(runtime, queue_file, log=log)
        gateway = Gateway(runtime, queues=queues, **settings)
        loop = asyncio.get_running_loop()
        running.append((lambda: loop.call_soon_threadsafe(gateway.stop), runtime.credentials))
        try:
            await gateway.serve(listener, ready=ready.set)
        finally:
            await runtime.close()
            await queues.close()

    def work() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(10)
        yield Serving(url=url, credentials=running[0][1])
    finally:
        running[0][0]()
        thread.join(20)
        assert not thread.is_alive()


def overfill(target: Target, connection_id: str) -> None:
    """Post to an agent that does not read, until a post fails."""
    for _ in range(500):
        target.connections.post_to_connection(ConnectionId=connection_id, Data=b"x" * 131072)


def closing(agent: ClientConnection) -> tuple[int, str]:
    """Read messages until the gateway closes an agent's socket; return the close code and reason."""
    with pytest.raises(ConnectionClosed) as closed:
        _read_all(agent)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def _read_all(agent: ClientConnection) -> None:
    while True:
        agent.recv(timeout=10)
