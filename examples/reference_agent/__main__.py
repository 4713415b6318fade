"""The reference agent: it speaks either protocol of docs/protocol.md and runs real processes as its sessions.

    python -m examples.reference_agent --url http://127.0.0.1:8000 --id ID --key KEY --state FOLDER [--protocol 2]

It executes one command at a time, in order.  It acknowledges a command before it executes it, and reports its end, over
the next connection if the first one was lost.  It reads messages while it executes, and answers a command that is
delivered again with its first end.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from .service_client import CAPACITY, Backoff, RefusedError, ServiceClient, UnreachableError
from .session_processes import Sessions
from .wire_format import (
    Cancel,
    Command,
    Confirmation,
    FirstProtocol,
    Ignored,
    Notice,
    Outgoing,
    Ping,
    Protocol,
    Report,
    SecondProtocol,
    Welcome,
    fragments,
)
from .work_queue import REMEMBERED, End, WorkQueue

LARGEST_WINDOW = 100


class Agent:
    """One agent: it reconnects for ever; its commands and their ends outlive each connection."""

    def __init__(self, options: argparse.Namespace, sessions: Sessions, protocol: Protocol) -> None:
        self._options = options
        self._service = ServiceClient(options, protocol.query)
        self._sessions = sessions
        self._protocol = protocol
        self._queue = WorkQueue()
        self._queue_grew = asyncio.Event()
        # A report that is dropped here is sent again when its command is delivered again.
        self._outbox: deque[Outgoing] = deque(maxlen=REMEMBERED)
        self._outbox_grew = asyncio.Event()
        # What was sent in protocol 2 and not confirmed yet, by message id: it is said again over the next connection.
        self._unconfirmed: dict[str, list[Report]] = {}
        self._messages = 0
        self._heartbeat: float = options.heartbeat

    async def run(self) -> None:
        """Run until cancelled; the sessions stay."""
        work = asyncio.create_task(self._work())
        backoff = Backoff(self._options.backoff_max)
        try:
            while True:
                try:
                    if await self._service.register():
                        log(f"registered as {self._options.id}")
                        pause = backoff.after(await self._serve_connection())
                    else:
                        log("an operator has to approve this agent")
                        pause = self._options.poll
                except RefusedError as error:
                    log(f"refused: {error}. Check the agent's key and whether the agent is approved")
                    pause = self._options.backoff_max
                except UnreachableError as error:
                    log(f"no connection: {error}")
                    pause = backoff.after(0)
                log(f"next attempt in {pause:.1f} s")
                await asyncio.sleep(pause)
        finally:
            work.cancel()

    async def _serve_connection(self) -> float:
        """Serve one connection to its end; return how many seconds it lived."""
        connection = await self._service.connect()
        began = time.monotonic()
        log("connected")
        await self._say_again(connection)
        tasks = [asyncio.create_task(self._send_heartbeats()), asyncio.create_task(self._send_outbox(connection))]
        try:
            async for text in connection:
                self._receive(text, connection)
            log(f"disconnected: {connection.close_code} {connection.close_reason}".rstrip())
        except ConnectionClosed as error:
            log(f"disconnected: {error}")
        finally:
            for task in tasks:
                task.cancel()
            await connection.close()
        return time.monotonic() - began

    async def _say_again(self, connection: ClientConnection) -> None:
        """Say first what this agent still executes, then again what was not confirmed."""
        unconfirmed = [report for reports in self._unconfirmed.values() for report in reports]
        self._unconfirmed.clear()
        self._outbox.extendleft(reversed(unconfirmed))
        held = {item.command_id: item.attempt for item in self._outbox if isinstance(item, Report)}
        text = self._protocol.resume([*self._queue.running(), *held.items()])
        if text is not None:
            with contextlib.suppress(ConnectionClosed):
                await connection.send(text)

    def _receive(self, text: str | bytes, connection: ClientConnection) -> None:
        for received in self._protocol.decode(text):
            match received:
                case Welcome():
                    self._heartbeat = min(self._options.heartbeat, received.heartbeat)
                    # A closed connection is followed by a new one: the gateway would cut this one at a worse moment.
                    asyncio.get_running_loop().call_later(received.move_after, _close, connection)
                case Confirmation():
                    self._unconfirmed.pop(received.message_id, None)
                case Command():
                    log(f"received {received.command_id}: {received.action!s:.200}")
                    self._post(*self._queue.receive(received))
                    self._queue_grew.set()
                case Cancel():
                    reports = self._queue.cancel(received.command_id)
                    log(f"{'cancelled' if reports else 'too late to cancel'} {received.command_id}")
                    self._post(*reports)
                case Ping():
                    self._post(Notice(type="pong"))
                case Ignored():
                    log(f"ignored {received.why}")

    def _post(self, *outgoing: Outgoing) -> None:
        self._outbox.extend(outgoing)
        self._outbox_grew.set()

    async def _send_outbox(self, connection: ClientConnection) -> None:
        """Send what is posted; an item leaves the outbox only when it was sent."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                while self._outbox:
                    items = list(self._outbox)
                    self._messages += 1
                    message_id = str(self._messages)
                    text, count = self._protocol.encode(items, message_id)
                    if text is not None:
                        pieces = fragments(text)
                        await connection.send(pieces if len(pieces) > 1 else text)
                    reports = [item for item in items[:count] if isinstance(item, Report)]
                    if reports and isinstance(self._protocol, SecondProtocol):
                        self._unconfirmed[message_id] = reports
                        while len(self._unconfirmed) > REMEMBERED:  # the service never confirms
                            del self._unconfirmed[next(iter(self._unconfirmed))]
                    for item in items[:count]:
                        with contextlib.suppress(ValueError):  # dropped from a full outbox meanwhile
                            self._outbox.remove(item)
                self._outbox_grew.clear()
                await self._outbox_grew.wait()

    async def _send_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat)
            active = len(self._sessions.active())
            payload = {"status": "online", "activeSessions": active, "capacity": CAPACITY}
            self._post(Notice(type="heartbeat", payload=payload))

    async def _work(self) -> None:
        while True:
            next_command = self._queue.begin()
            if next_command is None:
                self._queue_grew.clear()
                await self._queue_grew.wait()
                continue
            command, ack = next_command
            self._post(ack)
            end = await self._execute(command)
            if end.kind == "complete" and command.action == "start_session":
                self._post(_session_status(end.body))
            self._post(self._queue.end(end))

    async def _execute(self, command: Command) -> End:
        """Execute a command, and report progress while it runs."""
        if command.deliver_by is not None and command.deliver_by <= datetime.now(UTC):
            return End(kind="failed", body="delivered too late")
        began = time.monotonic()
        execution = asyncio.create_task(asyncio.to_thread(self._sessions.execute, command.action, command.payload))
        try:
            while not (await asyncio.wait([execution], timeout=self._options.progress))[0]:
                self._post(self._queue.progress({"seconds": round(time.monotonic() - began)}))
            result = execution.result()
        except Exception as error:  # noqa: BLE001 - a failed command must not stop the next one
            log(f"failed {command.command_id}: {error}")
            return End(kind="failed", body=str(error))
        log(f"completed {command.command_id}: session {result['sessionId']} {result['state']}")
        return End(kind="complete", body=result)


def _close(connection: ClientConnection) -> None:
    closing = asyncio.ensure_future(connection.close())
    closing.add_done_callback(lambda _: log("moved to a new connection"))


def _session_status(result: dict[str, Any]) -> Notice:
    session = {key: result[key] for key in ("sessionId", "state", "vncPort")}
    pod = {key: result[key] for key in ("podIP", "podName")}
    return Notice(type="status", payload={**session, "vncReady": True, "platformMetadata": pod})


def log(text: str) -> None:
    """Print one event."""
    print(f"{datetime.now().astimezone():%H:%M:%S} {text}", flush=True)  # noqa: T201 - the log is standard output


async def _run_until_signal(agent: Agent) -> None:
    task = asyncio.create_task(agent.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    log("ended; the sessions stay")


def main() -> int:
    """Run the agent as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m examples.reference_agent", description="The reference agent.")
    parser.add_argument("--url", required=True, help="the dispatcher, for example http://127.0.0.1:8000")
    parser.add_argument("--id", required=True, help="the agent's id")
    parser.add_argument("--key", default=os.environ.get("AGENT_API_KEY"), help="its key (default: AGENT_API_KEY)")
    parser.add_argument("--state", required=True, type=Path, help="the folder of its sessions' pid files")
    parser.add_argument("--platform", default="kubernetes", help="the platform to register with (%(default)s)")
    parser.add_argument("--region", default="us-east-1", help="the region to register with (%(default)s)")
    parser.add_argument("--heartbeat", type=float, default=30.0, help="seconds between heartbeats (%(default)s)")
    parser.add_argument(
        "--poll", type=float, default=30.0, help="seconds between two requests for approval (%(default)s)"
    )
    parser.add_argument("--progress", type=float, default=5.0, help="seconds between reports of progress (%(default)s)")
    parser.add_argument("--backoff-max", type=float, default=32.0, help="the longest pause in seconds (%(default)s)")
    parser.add_argument("--protocol", type=int, choices=(1, 2), default=1, help="the protocol to speak (%(default)s)")
    parser.add_argument("--window", type=int, default=32, help="unacknowledged commands in protocol 2 (%(default)s)")
    options = parser.parse_args()
    if not options.key:
        parser.error("--key or AGENT_API_KEY is required")
    if not options.url.startswith(("http://", "https://")):
        parser.error("--url must begin with http:// or https://")
    if not 1 <= options.window <= LARGEST_WINDOW:
        parser.error(f"--window must be a number from 1 to {LARGEST_WINDOW}")
    options.url = options.url.rstrip("/")
    protocol = FirstProtocol() if options.protocol == 1 else SecondProtocol(options.window)
    asyncio.run(_run_until_signal(Agent(options, Sessions(options.state), protocol)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
