"""A small agent for both protocols with one fault: `--fault` is the name of the check that must fail."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import deque
from typing import Any, cast
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

PAUSES = (0.6, 1.8, 0.8, 2.4)
"""Seconds between attempts: shorter than the protocol's, so that tests are quick, and as irregular as random ones."""
POLL = 1.5
ID, KEY = os.environ["AGENT_ID"], os.environ["AGENT_API_KEY"]
FOREVER = 3600.0


class SmallAgent:
    """An agent that is correct except for its fault."""

    def __init__(self, url: str, fault: str, protocol: int, platform: str) -> None:
        self.url = url
        self.fault = fault
        self.platform = platform
        self.protocol = protocol
        self.attempts = 0
        self.registered = False
        self.outbox: deque[dict[str, Any]] = deque()
        self.posted = asyncio.Event()
        self.seen: set[str] = set()
        self.dropped: set[str] = set()
        self.ends: dict[str, dict[str, Any]] = {}
        self.executions = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.unconfirmed: dict[str, dict[str, Any]] = {}
        self.messages = 0

    async def run(self) -> None:
        """Register and connect again and again."""
        while True:
            with contextlib.suppress(OSError, InvalidHandshake):
                await self._register_and_serve()
            await self._pause()

    async def _register_and_serve(self) -> None:
        if not (self.fault == "registers-again" and self.registered):
            status = await self._register()
            while status == 202 and self.fault != "pending-stays-out":
                if self.fault == "pending-asks-again":
                    sys.exit("not approved")
                await asyncio.sleep(0.05 if self.fault == "pending-patient" else POLL)
                status = await self._register()
            if status == 401 and self.fault != "refused-stays-out":
                await asyncio.sleep(0 if self.fault == "refused-patient" else FOREVER)
                return
            if status not in {200, 202, 401}:
                return
            self.registered = True
        if self.fault in {"connects", "approved-connects"}:
            await asyncio.sleep(FOREVER)
        await self._serve()

    async def _pause(self) -> None:
        self.attempts += 1
        if self.fault in {"backs-off", "forbidden-patient", "refused-patient"}:
            return
        # Longer than what a busy machine adds.
        await asyncio.sleep(3.0 if self.fault == "jitter" else PAUSES[(self.attempts - 1) % len(PAUSES)])

    async def _register(self) -> int:
        return await asyncio.to_thread(self._post_registration)

    def _post_registration(self) -> int:
        body: dict[str, Any] = {"agentId": ID, "platform": self.platform, "metadata": {}}
        if self.fault == "register-body":
            del body["agentId"]
        path = "/register" if self.fault == "registers" else "/api/v1/agents/register"
        request = Request(  # noqa: S310 - the URL of the kit
            self.url + path,
            data=json.dumps(body).encode(),
            headers={
                "Content-Type": "text/plain" if self.fault == "register-content-type" else "application/json",
                "X-Agent-Api-Key": "Bearer " + KEY if self.fault == "register-key" else KEY,
            },
        )
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=5) as response:
                return int(response.status)
        except HTTPError as error:
            with error:
                return error.code

    async def _serve(self) -> None:
        agent_id = "another" if self.fault == "connect-agent-id" else ID
        window = 500 if self.fault == "window" else 50
        query = f"&protocol=2&window={window}" if self.protocol == 2 else ""
        if self.fault == "keeps-outcomes":
            self.outbox.clear()
        self.outbox.extendleft(reversed(self.unconfirmed.values()))
        self.unconfirmed.clear()
        try:
            connection = await connect(
                f"ws{self.url.removeprefix('http')}/api/v1/agents/connect?agent_id={quote(agent_id)}{query}",
                additional_headers={} if self.fault == "connect-key" else {"X-Agent-Api-Key": KEY},
                subprotocols=[Subprotocol("agent.v1")] if self.fault == "plain-websocket" else None,
                max_size=2**16 if self.fault == "large-command" else 2**18,
                ping_interval=None if self.fault == "keep-alive-ping" else 1,
                create_connection=ConnectionWithoutPongs if self.fault == "websocket-ping" else ClientConnection,
                proxy=None,
            )
        except InvalidStatus:
            return
        if self.fault == "plain-websocket" and connection.subprotocol is None:
            await connection.close(1010)
            return
        if self.protocol == 2 and self.fault != "resume":
            await connection.send('{"type": "resume", "running": []}')
        sending = asyncio.create_task(self._send(connection))
        heartbeats = asyncio.create_task(self._send_heartbeats())
        self._send_wrong_message()
        try:
            await self._read(connection)
        except ConnectionClosed as error:
            if self.fault == ("returns-after-close" if isinstance(error, ConnectionClosedOK) else "returns-after-loss"):
                sys.exit("the connection is closed")
        finally:
            sending.cancel()
            heartbeats.cancel()
            await connection.close()

    def _send_wrong_message(self) -> None:
        match self.fault:
            case "resume":
                self._post({"type": "heartbeat", "payload": {"status": "online", "activeSessions": 0, "capacity": {}}})
                self._post({"type": "resume", "running": []})
            case "known-types":
                self._post({"type": "hello"})
            case "message-size":
                self._post({"type": "status", "payload": {"sessionId": "s-1", "fill": "x" * 200_000}})
            case "frame-size":
                self._post({"type": "status", "payload": {"sessionId": "s-1", "fill": "x" * 100_000}})
            case "reports" if self.protocol == 1:
                self._post({"type": "complete"})
            case "reports":
                self._post({"type": "reports", "reports": [{"kind": "done", "commandId": "c-1", "attempt": 1}]})
            case _:
                pass

    async def _read(self, connection: ClientConnection) -> None:
        while True:
            if self.fault == "fragments":
                async for piece in connection.recv_streaming():
                    self._receive(piece)
            else:
                self._receive(await connection.recv())

    def _receive(self, text: str | bytes) -> None:
        try:
            self._understand(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError):
            if self.fault == "survives-garbage":
                os._exit(1)

    def _understand(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        known = {"commands", "cancel", "ping", "welcome", "received"} if self.protocol == 2 else {"command", "ping"}
        if self.fault == "unknown-types" and kind not in known and not isinstance(kind, int):
            os._exit(1)
        if kind == "ping" and self.fault != "ping-message":
            self._post({"type": "pong"})
        elif kind == "command" and self.protocol == 1:
            self._take(message["payload"])
        elif kind == "commands" and self.protocol == 2:
            commands = cast("list[dict[str, Any]]", message["commands"])
            for command in commands[:1] if self.fault == "batch" else commands:
                self._take(command)
        elif kind == "cancel" and self.protocol == 2:
            if self.fault == "cancel-unknown" and message["commandId"] not in self.seen:
                os._exit(1)
            self.dropped.add(message["commandId"])
        elif kind == "received":
            self.unconfirmed.pop(message["id"], None)

    def _take(self, command: dict[str, Any]) -> None:
        expected = {"commandId", "attempt", "action", "sessionId", "payload", "executionTimeoutSeconds", "deliverBy"}
        if self.fault == "unknown-fields" and set(command) - expected:
            os._exit(1)
        again = command["commandId"] in self.seen
        self.seen.add(command["commandId"])
        if again and self.fault == "redelivery-acked":
            return
        if self.fault not in {"acks", "ack-first"}:
            self._report(command, "ack")
        task = asyncio.create_task(self._execute(command))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _execute(self, command: dict[str, Any]) -> None:
        command_id = command["commandId"]
        if self.fault == "outcomes":
            return
        if self.fault == "order":
            await asyncio.sleep((0.4, 0.2, 0.0)[(len(self.seen) - 1) % 3])
        if self.fault == "cancel":
            await asyncio.sleep(0.2)
            if command_id in self.dropped:
                return
        if command_id not in self.ends or self.fault == "redelivery-same-end":
            late = "deliverBy" in command and self.fault != "too-late"  # the kit sends it only for moments in the past
            self.ends[command_id] = (
                {"kind": "failed", "error": "too late"} if late else self._end_of(str(command["action"]))
            )
        self._report(command, **self.ends[command_id])
        if self.fault == "ack-first":
            self._report(command, "ack")

    def _end_of(self, action: str) -> dict[str, Any]:
        self.executions += 1
        if action in {"start_session", "stop_session"} or self.fault == "unknown-action":
            return {"kind": "complete", "result": {"execution": self.executions}}
        return {
            "kind": "failed",
            "error": "no idea" if self.fault == "unknown-action-words" else f"unknown action: {action}",
        }

    def _report(self, command: dict[str, Any], kind: str, **fields: Any) -> None:
        command_id = command["commandId"].upper() if self.fault == "command-ids" else command["commandId"]
        if self.platform == "docker":
            session_id, error = command["payload"].get("sessionId"), fields.get("error")
            if kind == "complete":
                self._post({"type": "command_response", "sessionId": session_id, "success": True, **fields["result"]})
            elif kind == "failed":
                self._post({"type": "command_error", "commandId": command_id, "error": error})
            return
        if self.protocol == 1:
            self._post({"type": kind, "payload": {"commandId": command_id, **fields}})
            return
        attempt = {} if self.fault == "attempt" else {"attempt": command["attempt"]}
        self.messages += 1
        report = {"kind": kind, "commandId": command_id, **attempt, **fields}
        self._post({"type": "reports", "id": str(self.messages), "reports": [report]})

    def _post(self, message: dict[str, Any]) -> None:
        self.outbox.append(message)
        self.posted.set()

    async def _send(self, connection: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                while self.outbox:
                    if self.fault == "one-document":
                        await asyncio.sleep(0.1)
                        await connection.send("\n".join(map(json.dumps, self.outbox)))
                        self.outbox.clear()
                        continue
                    message = self.outbox[0]
                    if "id" in message and self.fault != "unconfirmed-again":
                        self.unconfirmed[message["id"]] = message
                    await self._transmit(connection, json.dumps(message))
                    self.outbox.popleft()
                self.posted.clear()
                await self.posted.wait()

    async def _transmit(self, connection: ClientConnection, text: str) -> None:
        if self.fault == "text-messages":
            await connection.send(text.encode())
        elif len(text) <= 2**15 or self.fault == "frame-size":
            await connection.send(text)
        else:
            await connection.send([text[start : start + 2**15] for start in range(0, len(text), 2**15)])

    async def _send_heartbeats(self) -> None:
        while self.fault != "heartbeat":
            await asyncio.sleep(0.5)
            self._post({"type": "heartbeat", "payload": {"status": "online", "activeSessions": 0, "capacity": {}}})


class ConnectionWithoutPongs(ClientConnection):
    """Does not answer pings."""

    def __init__(self, protocol: ClientProtocol, **options: Any) -> None:
        super().__init__(protocol, **options)
        send_frame = protocol.send_frame

        def send_other_frame(frame: Frame) -> None:
            if frame.opcode is not Opcode.PONG:
                send_frame(frame)

        protocol.send_frame = send_other_frame  # type: ignore[method-assign]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="")
    parser.add_argument("--protocol", type=int, default=1)
    parser.add_argument("--platform", default="small")
    parser.add_argument("--url", default=os.environ["DISPATCHER_URL"])
    options = parser.parse_args()
    if options.fault == "sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    asyncio.run(SmallAgent(options.url, options.fault, options.protocol, options.platform).run())


if __name__ == "__main__":
    main()
