"""A stand-in for StreamSpace's k8s-agent.

One thread reads and executes: while a command runs, nothing is read.  One thread writes, for the whole life of the process,
heartbeats and pings too.  It ends at the first failed write, and from then on the agent is mute: it reconnects and executes,
and says nothing.
"""

import contextlib
import json
import queue
import threading
import time
from datetime import UTC, datetime
from typing import Any, Self

import urllib3
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection

from tests.streamspace.connection import Ended, Pace, command_in, members, open_socket, register
from tests.streamspace.kubernetes_cluster import Cluster, ClusterError, Deployment, Port

PAUSES = (1, 2, 4, 8, 16)
LOOK_SECONDS = 0.05
"""How often the reader looks for a pong and for its end."""


class K8sAgent:
    """The process of an agent; `key` is an API key, or an enrolment token."""

    def __init__(self, url: str, agent_id: str, key: str, cluster: Cluster, pace: Pace | None = None) -> None:
        self.cluster = cluster
        self.executed: list[str] = []
        """The id of each command, whenever it was executed."""
        self.registrations: list[int] = []
        """The status of each answer."""
        self.ended: str | None = None
        """Why the process has ended by itself."""
        self._url, self._id, self._key, self._pace = url, agent_id, key, pace or Pace()
        self._outbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._stop = threading.Event()
        self._socket: ClientConnection | None = None
        self._pong: threading.Event | None = None
        """Set by the pong that the last ping waits for."""
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._reader = threading.Thread(target=self._live, daemon=True)

    @property
    def is_mute(self) -> bool:
        """Whether its writer has ended."""
        return self._writer.ident is not None and not self._writer.is_alive()

    @property
    def is_connected(self) -> bool:
        """Whether it has a connection."""
        return self._socket is not None

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._outbox.put(None)
        socket = self._socket
        if socket is not None:
            socket.close()
        self._reader.join(30)
        if self._writer.ident is not None:
            self._writer.join(30)

    # ── Connecting ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _live(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._register()
                with open_socket(self._url, self._id, self._key) as socket:
                    failures = 0
                    self._socket, self._pong = socket, None
                    if self._writer.ident is None:
                        self._writer.start()
                    self._read(socket)
            except Ended as reason:
                self.ended = str(reason)
                return
            except (ConnectionClosed, InvalidHandshake, OSError, urllib3.exceptions.HTTPError):
                pass
            finally:
                self._socket = None
            self._stop.wait(self._pace.reconnect * PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1

    def _register(self) -> None:
        """Register; ask again while the approval is pending.

        While it polls, it looks only for the word in the body, whatever the status is.
        """
        body = {
            "agentId": self._id,
            "platform": "kubernetes",
            "region": "us-east-1",
            "capacity": {"maxSessions": 100, "cpu": "64 cores", "memory": "256Gi"},
            "metadata": {"kubernetes": True, "namespace": "streamspace"},
        }
        status, text = register(self._url, self._key, body)
        self.registrations.append(status)
        if status not in {200, 201, 202}:
            raise Ended(f"registration: {status}")
        while '"pending"' in text:
            if self._stop.wait(self._pace.poll):
                raise Ended("stopped")
            status, text = register(self._url, self._key, body)
            self.registrations.append(status)
        with contextlib.suppress(ValueError):
            self._key = json.loads(text).get("apiKey") or self._key

    # ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, socket: ClientConnection) -> None:
        """Read and execute until the connection ends, or no pong has come for the read deadline."""
        deadline = time.monotonic() + self._pace.read_deadline
        while not self._stop.is_set():
            pong = self._pong
            if pong is not None and pong.is_set():
                self._pong, deadline = None, time.monotonic() + self._pace.read_deadline
            if time.monotonic() >= deadline:
                return
            with contextlib.suppress(TimeoutError):
                self._receive(str(socket.recv(timeout=LOOK_SECONDS)))

    def _receive(self, text: str) -> None:
        """Execute a command; what cannot be decoded is dropped without a word."""
        try:
            message = json.loads(text)
        except ValueError:
            return
        if not isinstance(message.get("timestamp", ""), str):
            return
        if message.get("type") == "ping":
            self._outbox.put({"type": "pong", "timestamp": _now()})
        command = command_in(message)
        if command is not None:
            self._execute(*command)

    def _execute(self, command_id: str, action: str, payload: dict[str, Any]) -> None:
        self.executed.append(command_id)
        self._say("ack", commandId=command_id)
        actions = {
            "start_session": self._start_session,
            "stop_session": self._stop_session,
            "hibernate_session": self._hibernate_session,
            "wake_session": self._wake_session,
        }
        if action not in actions:
            self._say("failed", commandId=command_id, error=f"unknown action: {action}")
            return
        try:
            result = actions[action](payload)
        except ClusterError as error:
            self._say("failed", commandId=command_id, error=str(error))
        else:
            self._say("complete", commandId=command_id, result=result)

    # ── Actions ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start_session(self, payload: dict[str, Any]) -> dict[str, Any]:
        session, user, template = (_text(payload, name) for name in ("sessionId", "user", "template"))
        in_payload = members(payload.get("templateManifest"))
        manifest = in_payload or self.cluster.templates.get(template)
        if manifest is None:
            raise ClusterError(f'failed to get template {template}: templates.stream.space "{template}" not found')
        spec: dict[str, Any] = manifest["spec"]
        if not isinstance(spec.get("baseImage"), str):
            raise ClusterError("template missing baseImage")
        ports: list[dict[str, Any]] = spec.get("ports") or [{"name": "vnc", "containerPort": 3000}]
        if in_payload is None:
            # An integer of the cluster's own object is none of JSON, and is read as 0.
            ports = [{**port, "containerPort": 0} for port in ports]
        defaults: dict[str, str] = spec.get("defaultResources") or {}
        variables: list[dict[str, str]] = spec.get("env") or []
        self.cluster.create_deployment(
            Deployment(
                name=session,
                image=spec["baseImage"],
                ports=tuple(
                    Port(
                        name=port.get("name", ""),
                        number=port.get("containerPort", 0),
                        protocol=port.get("protocol", "TCP"),
                    )
                    for port in ports
                ),
                memory=payload.get("memory") or defaults.get("memory") or "2Gi",
                cpu=payload.get("cpu") or defaults.get("cpu") or "1000m",
                env={each["name"]: each.get("value", "") for each in variables},
                labels={"app": "streamspace-session", "session": session, "user": user, "template": template},
            )
        )
        self.cluster.create_service(session)
        if payload.get("persistentHome"):
            self.cluster.create_claim(f"{session}-home")
        return self._running(session)

    def _running(self, session: str) -> dict[str, Any]:
        """Wait for the pod, and tell that the session runs."""
        self._stop.wait(self._pace.pod_start)
        pod = {"podIP": "10.42.0.7", "podName": f"{session}-5fff477c55-bnwg4"}
        status = {"sessionId": session, "state": "running", "vncPort": 3000, "vncReady": True, "platformMetadata": pod}
        self._outbox.put({"type": "status", "payload": status})
        ready = {"sessionId": session, "vncPort": 5901, "podName": pod["podName"]}
        later = threading.Timer(
            self._pace.vnc_ready, self._outbox.put, ({"type": "vnc_ready", "payload": ready, "timestamp": _now()},)
        )
        later.daemon = True
        later.start()
        return {
            "sessionId": session,
            "state": "running",
            "vncPort": 3000,
            "deployment": session,
            "service": session,
            **pod,
        }

    def _stop_session(self, payload: dict[str, Any]) -> dict[str, Any]:
        session = _text(payload, "sessionId")
        self.cluster.delete(session)
        return {"sessionId": session, "state": "terminated"}

    def _hibernate_session(self, payload: dict[str, Any]) -> dict[str, Any]:
        session = _text(payload, "sessionId")
        self.cluster.scale(session, 0)
        return {"sessionId": session, "state": "hibernated"}

    def _wake_session(self, payload: dict[str, Any]) -> dict[str, Any]:
        session = _text(payload, "sessionId")
        self.cluster.scale(session, 1)
        return self._running(session)

    # ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _say(self, kind: str, **payload: Any) -> None:
        self._outbox.put({"type": kind, "payload": payload, "timestamp": _now()})

    def _write(self) -> None:
        """Write what is said, and end for ever when a write fails: without a connection, or into a closed one.

        Heartbeats and pings do not stop while there is no connection.
        """
        now = time.monotonic()
        heartbeat, ping = now + self._pace.heartbeat, now + self._pace.ping
        with contextlib.suppress(ConnectionClosed, OSError):
            while not self._stop.is_set():
                now = time.monotonic()
                if now >= heartbeat:
                    heartbeat += self._pace.heartbeat
                    self._say("heartbeat", status="online", activeSessions=len(self.cluster.pods()))
                if now >= ping:
                    ping += self._pace.ping
                    self._pong = self._open_socket().ping()
                with contextlib.suppress(queue.Empty):
                    message = self._outbox.get(timeout=max(0.0, min(heartbeat, ping) - now))
                    if message is not None:
                        self._open_socket().send(json.dumps(message))

    def _open_socket(self) -> ClientConnection:
        if self._socket is None:
            raise OSError("there is no connection")
        return self._socket


def _text(payload: dict[str, Any], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str) or not value:
        raise ClusterError(f"missing or invalid {name}")
    return value


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
