"""One dispatcher for the tests of a module, and an agent written for the tests; both are used only from outside."""

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from local.http_client import Client
from tests.conftest import scratch
from tests.e2e.dispatcher_process import PASSWORD, Dispatcher, up


class Agent:
    """An agent of the first protocol that answers as its test says; it records every command that it gets."""

    def __init__(
        self, url: str, agent_id: str, key: str, reply: Callable[[dict[str, Any]], list[Any]] | None = None
    ) -> None:
        self.received: queue.Queue[dict[str, Any]] = queue.Queue()
        self.commands: list[str] = []
        self._reply = reply or ack_and_complete
        self._open = contextlib.ExitStack()
        self.socket: ClientConnection = self._open.enter_context(
            connect(
                f"{url.replace('http', 'ws', 1)}/api/v1/agents/connect?agent_id={agent_id}",
                additional_headers={"X-Agent-Api-Key": key},
                compression=None,
                proxy=None,
            )
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for text in self.socket:
                frame = json.loads(text)
                self.commands.append(frame["payload"]["commandId"])
                self.received.put(frame)
                for answer in self._reply(frame["payload"]):
                    self.socket.send(answer if isinstance(answer, str) else json.dumps(answer))
        except ConnectionClosed:
            return

    def close(self) -> None:
        """Disconnect."""
        self._open.close()


def ack_and_complete(command: dict[str, Any]) -> list[Any]:
    """Answer as the k8s-agent does."""
    payload = {"commandId": command["commandId"]}
    stamp = "2026-11-23T07:57:30.789716513Z"
    return [
        {"payload": payload, "timestamp": stamp, "type": "ack"},
        {"payload": {**payload, "result": {"state": "running"}}, "timestamp": stamp, "type": "complete"},
    ]


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that does not exist yet, in memory if there is room."""
    with scratch() as folder:
        yield folder


@pytest.fixture(scope="module")
def dispatcher() -> Iterator[Dispatcher]:
    """A dispatcher that sweeps each second."""
    with scratch() as home, up(home, DISPATCHER_ADMIN_PASSWORD=PASSWORD, DISPATCHER_SWEEP_SECONDS="1") as running:
        yield running
        running.stop()


@pytest.fixture
def client(dispatcher: Dispatcher) -> Client:
    """An admin."""
    return dispatcher.client()


@pytest.fixture
def create_agent(client: Client, request: pytest.FixtureRequest) -> Callable[..., tuple[str, str]]:
    """Create agents, each with its own id; return id and key."""

    def create(platform: str = "kubernetes", suffix: str = "") -> tuple[str, str]:
        agent_id = f"{request.node.name.split('[')[0]}{suffix}"[:120]
        return agent_id, client.post("/api/v1/agents", {"agentId": agent_id, "platform": platform})["apiKey"]

    return create
