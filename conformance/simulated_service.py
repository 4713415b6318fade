"""A simulated service for one agent: it accepts registrations and connections, and answers as a scenario demands."""

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import h11
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.server import ServerProtocol

from conformance.agent_connection import AgentConnection, reset
from conformance.message_codec import encode_welcome

REGISTER, CONNECT = "/api/v1/agents/register", "/api/v1/agents/connect"
_READ_BYTES = 65536
_READABLE_MESSAGE_BYTES = 2**24
"""Far more than the protocol allows: a message that is too large must be read to be measured."""
_DISCARDED_LOG = logging.getLogger("conformance.websockets")
_DISCARDED_LOG.addHandler(logging.NullHandler())
_DISCARDED_LOG.propagate = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request of the agent: `what` is register, connect, or the method and path of any other; status 0 is no answer."""

    at: float
    what: str
    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class SimulatedService:
    """Listens on a free port of 127.0.0.1; a scenario sets its public attributes."""

    def __init__(self, agent_id: str) -> None:
        self.calls: list[Call] = []
        self.connections: list[AgentConnection] = []
        self.approved: tuple[int, dict[str, Any]] = (200, _approval(agent_id))
        self.pending: tuple[int, dict[str, Any]] = (202, {"agentId": agent_id, "approvalStatus": "pending"})
        self.registration: tuple[int, dict[str, Any]] = self.approved
        self.handshake_status = HTTPStatus.SWITCHING_PROTOCOLS
        self.outage = False
        """Whether requests fail: every second registration by a cut connection, the others with 503."""
        self.url = ""
        self._failed_registrations = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in list(self._writers):
            reset(writer)
        await asyncio.sleep(0)
        await self._server.wait_closed()

    def called(self, what: str, since: float = 0.0) -> list[Call]:
        """Return the calls of one kind, from a time on."""
        return [call for call in self.calls if call.what == what and call.at >= since]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._read_request(reader, writer)
        except (OSError, h11.RemoteProtocolError):
            pass  # the agent dropped the connection or does not speak HTTP: a check will miss its call
        finally:
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _read_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        received, body, request = b"", b"", None
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                if http.they_are_waiting_for_100_continue:
                    writer.write(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                data = await reader.read(_READ_BYTES)
                received += data
                http.receive_data(data)
            elif isinstance(event, h11.Request):
                request = event
                if event.method == b"GET" and any(name == b"upgrade" for name, _ in event.headers):
                    return await self._serve_websocket(event, received, reader, writer)
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                return self._answer(http, request, body, writer)
            else:
                return None

    def _answer(self, http: h11.Connection, request: h11.Request, body: bytes, writer: asyncio.StreamWriter) -> None:
        path = _path(request.target.decode())
        if (path, request.method) != (REGISTER, b"POST"):
            what, status, answer = f"{request.method.decode()} {path}", 404, {"title": "Not found"}
        elif self.outage:
            self._failed_registrations += 1
            if self._failed_registrations % 2:
                self._record("register", 0, request, body)
                return reset(writer)
            what, status, answer = "register", 503, {"title": "Service unavailable"}
        else:
            what, (status, answer) = "register", self.registration
        self._record(what, status, request, body)
        content = json.dumps(answer).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content))), ("Connection", "close")]
        for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=content), h11.EndOfMessage()):
            writer.write(http.send(event) or b"")
        return None

    def _record(self, what: str, status: int, request: h11.Request, body: bytes = b"") -> None:
        headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        self.calls.append(Call(at=time.monotonic(), what=what, status=status, headers=headers, body=body))

    async def _serve_websocket(
        self, head: h11.Request, received: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        websocket = ServerProtocol(max_size=_READABLE_MESSAGE_BYTES, logger=_DISCARDED_LOG)
        websocket.receive_data(received)
        request = websocket.events_received()[0]
        assert isinstance(request, Request)  # noqa: S101 - h11 has read it already
        path = _path(request.path)
        status = HTTPStatus.SERVICE_UNAVAILABLE if self.outage else self.handshake_status
        if path != CONNECT:
            status = HTTPStatus.NOT_FOUND
        accepted = status is HTTPStatus.SWITCHING_PROTOCOLS
        response = websocket.accept(request) if accepted else websocket.reject(status, "")
        self._record("connect" if path == CONNECT else f"GET {path}", response.status_code, head)
        websocket.send_response(response)
        connection = AgentConnection(request, websocket, writer)
        connection.flush()
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            return
        self.connections.append(connection)
        if connection.protocol == 2:  # noqa: PLR2004 - the second protocol
            connection.send(encode_welcome(len(self.connections)))
        try:
            while data := await reader.read(_READ_BYTES):
                websocket.receive_data(data)
                for event in websocket.events_received():
                    if isinstance(event, Frame):
                        connection.receive(event)
                connection.flush()
            websocket.receive_eof()
        finally:
            connection.closed = True


def _path(target: str) -> str:
    """Return the path of a request; `//` counts as `/`, because the agent's base URL may end with a slash."""
    # urlsplit would take `//api/v1` for a host.
    return re.sub("/{2,}", "/", target.partition("?")[0])


def _approval(agent_id: str) -> dict[str, Any]:
    return {
        "id": "00000000-0000-4000-8000-000000000000",
        "agentId": agent_id,
        "platform": "kubernetes",
        "status": "online",
        "approvalStatus": "approved",
        "createdAt": "2026-01-01T00:00:00Z",
    }
