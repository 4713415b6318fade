"""A stand-in for StreamSpace's docker-agent: flat messages, no acks, and no second connection."""

import contextlib
import json
import threading
import time
from typing import Any, Self

import urllib3
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection

from tests.streamspace.connection import Pace, command_in, members, open_socket, register
from tests.streamspace.docker_host import DockerError, DockerHost

UNITS = {"Gi": 2**30, "Mi": 2**20, "G": 10**9, "M": 10**6}


class DockerAgent:
    """The process of an agent.  What it cannot do at its start, it never does: an operator restarts it."""

    def __init__(self, url: str, agent_id: str, key: str, host: DockerHost, pace: Pace | None = None) -> None:
        self.host = host
        self.executed: list[str] = []
        """The id of each command, whenever it was executed."""
        self.is_idle = False
        """Whether it does nothing any more, until it is restarted."""
        self._url, self._id, self._key, self._pace = url, agent_id, key, pace or Pace()
        self._stop = threading.Event()
        self._socket: ClientConnection | None = None
        self._reader = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        socket = self._socket
        if socket is not None:
            socket.close()
        self._reader.join(30)

    def _live(self) -> None:
        body = {
            "agentId": self._id,
            "platform": "docker",
            "region": "us-east-1",
            "capacity": {"maxCpu": 100, "maxMemory": 128, "maxSessions": 100},
            "metadata": {"networkName": "streamspace", "volumeDriver": "local"},
        }
        with contextlib.suppress(ConnectionClosed, InvalidHandshake, OSError, urllib3.exceptions.HTTPError):
            status, _ = register(self._url, self._key, body)
            if status in {200, 201}:
                with open_socket(self._url, self._id, self._key) as socket:
                    self._socket = socket
                    self._read(socket)
        self._socket = None
        self.is_idle = True

    def _read(self, socket: ClientConnection) -> None:
        now = time.monotonic()
        heartbeat, ping = now + self._pace.heartbeat, now + self._pace.ping
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= heartbeat:
                heartbeat += self._pace.heartbeat
                self._send(
                    {"type": "heartbeat", "timestamp": _stamp(), "payload": {"status": "online", "activeSessions": 0}}
                )
            if now >= ping:
                ping += self._pace.ping
                socket.ping()
            with contextlib.suppress(TimeoutError):
                self._receive(str(socket.recv(timeout=max(0.0, min(heartbeat, ping, now + 0.05) - now))))

    def _receive(self, text: str) -> None:
        """Execute a command; what cannot be decoded is dropped without a word."""
        try:
            message = json.loads(text)
        except ValueError:
            return
        if not isinstance(message.get("timestamp", 0), int):
            return
        if message.get("type") == "ping":
            self._send({"type": "pong", "agentId": self._id})
        command = command_in(message)
        if command is not None:
            self.executed.append(command[0])
            self._execute(*command)

    def _execute(self, command_id: str, action: str, payload: dict[str, Any]) -> None:
        session = str(payload.get("sessionId", ""))
        try:
            match action:
                case "start_session":
                    outcome: dict[str, Any] = {"status": "running", "container": self._start(session, payload)}
                case "stop_session":
                    self._stop_session(session)
                    outcome = {"status": "terminated"}
                case "hibernate_session" | "wake_session":
                    error = "command failed: hibernation not yet implemented for Docker agent"
                    return self._send({"type": "command_error", "commandId": command_id, "error": error})
                case _:
                    error = f"unknown command action: {action}"
                    return self._send({"type": "command_error", "commandId": command_id, "error": error})
        except DockerError as error:
            outcome = {"error": str(error)}
        answer = {"sessionId": session, "success": "error" not in outcome, "timestamp": int(time.time()), **outcome}
        return self._send({"type": "command_response", **answer})

    def _start(self, session: str, payload: dict[str, Any]) -> dict[str, str]:
        manifest = members(payload.get("templateManifest"))
        if manifest is None:
            raise DockerError("Invalid template: templateManifest not found in payload")
        spec: dict[str, Any] = manifest["spec"]
        resources: dict[str, str] = {**(spec.get("defaultResources") or {}), **(payload.get("resources") or {})}
        image: str = spec.get("baseImage") or ""
        ports: list[dict[str, Any]] = spec.get("ports") or []
        self.host.pull(image)
        container = self.host.create(
            name=f"streamspace-{session}",
            session=session,
            image=image,
            ports=tuple(f"{port['containerPort']}/{port.get('protocol', '').lower()}" for port in ports),
            memory=_bytes(resources.get("memory", "")),
            nano_cpus=_nano_cpus(resources.get("cpu", "")),
        )
        return {"id": container.container_id, "ip": self.host.start(container)}

    def _stop_session(self, session: str) -> None:
        try:
            self.host.remove(self.host.of_session(session))
        except DockerError as error:
            raise DockerError(f"Container not found: {error}") from error

    def _send(self, message: dict[str, Any]) -> None:
        if self._socket is not None:
            self._socket.send(json.dumps(message))


def _bytes(memory: str) -> int:
    for unit, factor in UNITS.items():
        if memory.endswith(unit):
            return int(float(memory.removesuffix(unit)) * factor)
    return 0


def _nano_cpus(cpu: str) -> int:
    if cpu.endswith("m"):
        return int(float(cpu[:-1]) * 1e6)
    return int(float(cpu) * 1e9) if cpu else 0


def _stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
