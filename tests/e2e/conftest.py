"""A whole dispatcher in a process of its own, and an agent that is the tests' own: black box, through the contract."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from local import ports
from local.http_client import Client

SWEEP_SECONDS = 1
PASSWORD = "test-password"


@dataclass(slots=True)
class Dispatcher:
    """`make up` without make: started, killed and started again on the same home and port."""

    root: Path
    home: Path
    port: int = field(default_factory=ports.any_free)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it; return the seconds until it serves."""
        began = time.monotonic()
        environment = os.environ | {
            "DISPATCHER_HOME": str(self.home),
            "DISPATCHER_PORT": str(self.port),
            "DISPATCHER_ADMIN_PASSWORD": PASSWORD,
            "DISPATCHER_SWEEP_SECONDS": str(SWEEP_SECONDS),
            "PYTHONPATH": f"{self.root}:{self.root / 'layers/dispatcher'}",
        }
        (self.home / "env").unlink(missing_ok=True)
        with (self.home / "up.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "local.up"], cwd=self.root, env=environment, stdout=output, stderr=output
            )
        until((self.home / "env").exists, 30)
        return time.monotonic() - began

    def kill(self) -> None:
        """Kill it, without a chance to clean up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in order."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return (self.home / "logs" / "dispatcher.log").read_text()

    def database(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect to its database, as psql does."""
        lines = (self.home / "env").read_text().splitlines()
        (url,) = (line.partition("=")[2].strip("'\"") for line in lines if line.startswith("DATABASE_URL="))
        return psycopg.connect(url, autocommit=True)

    def client(self) -> Client:
        """Log in as admin."""
        return Client.log_in(self.url, "admin", PASSWORD)


class Agent:
    """An agent of the first protocol that does what its test says; it records every command that it gets."""

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
        """Leave."""
        self._open.close()


def ack_and_complete(command: dict[str, Any]) -> list[Any]:
    """Answer as the k8s-agent does."""
    payload = {"commandId": command["commandId"]}
    stamp = "2026-11-23T07:57:30.789716513Z"
    return [
        {"payload": payload, "timestamp": stamp, "type": "ack"},
        {"payload": {**payload, "result": {"state": "running"}}, "timestamp": stamp, "type": "complete"},
    ]


def until(holds: Callable[[], object], seconds: float = 10) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def dispatcher(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Dispatcher]:
    """A dispatcher that serves."""
    running = Dispatcher(root=root, home=tmp_path_factory.mktemp("home"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def client(dispatcher: Dispatcher) -> Client:
    """An admin."""
    return dispatcher.client()


@pytest.fixture
def provide(client: Client, request: pytest.FixtureRequest) -> Callable[..., tuple[str, str]]:
    """Provide agents, each with an id of its own."""

    def make(platform: str = "kubernetes", suffix: str = "") -> tuple[str, str]:
        agent_id = f"{request.node.name.split('[')[0]}{suffix}"[:120]
        return agent_id, client.post("/api/v1/agents", {"agentId": agent_id, "platform": platform})["apiKey"]

    return make
