"""The service as an agent sees it: one path to register at, one to connect to, and answers as a scene wants them."""

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

from conformance.link import Link, cut
from conformance.notifier import Bell

REGISTER, CONNECT = "/api/v1/agents/register", "/api/v1/agents/connect"
_READ = 65536
_MOST = 2**24
"""Bytes of a message that are still read, far more than allowed: it has to be measured."""
_SILENT = logging.getLogger("local.conformance.websockets")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request of the agent: `what` is register, connect, or method and path of anything else; status 0 is no answer."""

    at: float
    what: str
    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Server:
    """Listens on a free port of 127.0.0.1 for one agent."""

    def __init__(self, agent_id: str) -> None:
        """Be there for this agent."""
        self.bell = Bell()
        self.calls: list[Call] = []
        self.links: list[Link] = []
        self.registration: tuple[int, dict[str, Any]] = (200, _approved(agent_id))
        self.approved = self.registration
        self.pending: tuple[int, dict[str, Any]] = (202, {"agentId": agent_id, "approvalStatus": "pending"})
        self.handshake_status = 101
        self.outage = False
        """Whether requests fail: registrations by a cut connection and with 503 in turn."""
        self.port = 0
        self._failures = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut every connection, and listen no more."""
        self._server.close()
        for writer in list(self._writers):
            cut(writer)
        await asyncio.sleep(0)
        await self._server.wait_closed()

    def called(self, what: str, since: float = 0.0) -> list[Call]:
        """Return the calls of a kind, from a time on."""
        return [call for call in self.calls if call.what == what and call.at >= since]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._request(reader, writer)
        except (OSError, h11.RemoteProtocolError):
            pass  # the agent went away, or speaks no HTTP: no call, and a check will miss it
        finally:
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        raw, body, request = b"", b"", None
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                if http.they_are_waiting_for_100_continue:
                    writer.write(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                data = await reader.read(_READ)
                raw += data
                http.receive_data(data)
            elif isinstance(event, h11.Request):
                request = event
                if event.method == b"GET" and any(name == b"upgrade" for name, _ in event.headers):
                    return await self._websocket(event, raw, reader, writer)
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                return self._answer(http, request, body, writer)
            else:
                return None

    def _answer(self, http: h11.Connection, request: h11.Request, body: bytes, writer: asyncio.StreamWriter) -> None:
        path = _path(request.target.decode())
        right = (path, request.method) == (REGISTER, b"POST")
        status, answer = self.registration if right else (404, {"title": "There is no such path"})
        if right and self.outage:
            status, answer = 503, {"title": "Out of order"}
            self._failures += 1
            if self._failures % 2:
                self._note("register", 0, request, body)
                cut(writer)
                return
        self._note("register" if right else f"{request.method.decode()} {path}", status, request, body)
        content = json.dumps(answer).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content))), ("Connection", "close")]
        parts = [h11.Response(status_code=status, headers=headers), h11.Data(data=content), h11.EndOfMessage()]
        writer.write(b"".join(http.send(part) or b"" for part in parts))

    def _note(self, what: str, status: int, request: h11.Request, body: bytes = b"") -> None:
        headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        self.calls.append(Call(at=time.monotonic(), what=what, status=status, headers=headers, body=body))
        self.bell.ring()

    async def _websocket(
        self, head: h11.Request, raw: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        machine = ServerProtocol(max_size=_MOST, logger=_SILENT)
        machine.receive_data(raw)
        request = machine.events_received()[0]
        assert isinstance(request, Request)  # noqa: S101 - h11 has read it already
        path = _path(request.path)
        wanted = 503 if self.outage else self.handshake_status
        status = HTTPStatus(wanted if path == CONNECT else 404)
        response = machine.accept(request) if status == HTTPStatus.SWITCHING_PROTOCOLS else machine.reject(status, "")
        self._note("connect" if path == CONNECT else f"GET {path}", response.status_code, head)
        machine.send_response(response)
        link = Link(request, machine, writer, self.bell)
        link.flush()
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            return
        self.links.append(link)
        self.bell.ring()
        try:
            while data := await reader.read(_READ):
                machine.receive_data(data)
                for event in machine.events_received():
                    if isinstance(event, Frame):
                        link.take(event)
                link.flush()
            machine.receive_eof()
        finally:
            link.ended()


def _path(target: str) -> str:
    """Return the path of a request, to be compared; a slash at the end of the URL that the agent knows makes it two here."""
    # By hand: `//api/v1` is an authority to urlsplit.
    return re.sub("/{2,}", "/", target.partition("?")[0])


def _approved(agent_id: str) -> dict[str, Any]:
    return {
        "id": "00000000-0000-4000-8000-000000000000",
        "agentId": agent_id,
        "platform": "kubernetes",
        "status": "online",
        "approvalStatus": "approved",
        "createdAt": "2026-01-01T00:00:00Z",
    }
