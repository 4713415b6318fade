"""A demonstration agent: speaks either protocol of docs/protocol.md, and holds real processes as its sessions.

    python -m examples.reference_agent.__main__ --url http://127.0.0.1:8000 --id ID --key KEY --state DIR [--protocol 2]

It takes one command at a time, in order; acknowledges it when its turn has come, executes it, and sends the outcome, if
need be over the next connection.  Unlike StreamSpace's k8s agent, as which it speaks in the first protocol, it keeps
reading meanwhile, and answers a command that reaches it a second time with the outcome of the first.
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

from examples.reference_agent.ledger import REMEMBERED, Ledger, Outcome
from examples.reference_agent.link import CAPACITY, Backoff, Entrance, RefusedError, UnreachableError
from examples.reference_agent.session_processes import Sessions
from examples.reference_agent.vocabulary import (
    Cancel,
    Command,
    Dialect,
    First,
    Ignored,
    Notice,
    Outgoing,
    Ping,
    Second,
    fragments,
)

WINDOW_MOST = 100
UNSENT = REMEMBERED
"""How many reports wait for a connection; an outcome that is dropped is reported again when its command comes again."""


class Agent:
    """One agent: it connects again for ever; its commands and their outcomes outlast each connection."""

    def __init__(self, options: argparse.Namespace, sessions: Sessions, dialect: Dialect) -> None:
        """Take the options as `main` parses them."""
        self._options = options
        self._entrance = Entrance(options, dialect.query, log)
        self._sessions = sessions
        self._dialect = dialect
        self._ledger = Ledger()
        self._received = asyncio.Event()
        self._outbox: deque[Outgoing] = deque()
        self._posted = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled; the sessions stay."""
        work = asyncio.create_task(self._work())
        backoff = Backoff(self._options.backoff_max)
        try:
            while True:
                try:
                    await self._entrance.register()
                    wait = backoff.after(await self._connected())
                except RefusedError as error:
                    log(f"refused: {error}.  Is the key this agent's, and the agent approved?")
                    wait = self._options.backoff_max
                except UnreachableError as error:
                    log(f"no connection: {error}")
                    wait = backoff.after(0)
                log(f"next attempt in {wait:.1f} s")
                await asyncio.sleep(wait)
        finally:
            work.cancel()

    async def _connected(self) -> float:
        """Serve one connection to its end; return how many seconds it lived."""
        connection = await self._entrance.connect()
        began = time.monotonic()
        log("connected")
        tasks = [asyncio.create_task(self._beat(connection)), asyncio.create_task(self._send(connection))]
        try:
            async for text in connection:
                self._receive(text)
            log(f"disconnected: {connection.close_code} {connection.close_reason}".rstrip())
        except ConnectionClosed as error:
            log(f"disconnected: {error}")
        finally:
            for task in tasks:
                task.cancel()
            await connection.close()
        return time.monotonic() - began

    def _receive(self, text: str | bytes) -> None:
        for received in self._dialect.decode(text):
            match received:
                case Command():
                    log(f"received {received.command_id}: {received.action!s:.200}")
                    self._post(*self._ledger.receive(received))
                    self._received.set()
                case Cancel():
                    reports = self._ledger.cancel(received.command_id)
                    log(f"{'cancelled' if reports else 'too late to cancel'} {received.command_id}")
                    self._post(*reports)
                case Ping():
                    self._post(Notice(type="pong"))
                case Ignored():
                    log(f"ignored {received.why}")

    def _post(self, *outgoing: Outgoing) -> None:
        self._outbox.extend(outgoing)
        while len(self._outbox) > UNSENT:
            self._outbox.popleft()
        self._posted.set()

    async def _send(self, connection: ClientConnection) -> None:
        """Send what is posted; what a dead connection does not take waits for the next one."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                while self._outbox:
                    text, count = self._dialect.encode(list(self._outbox), _now())
                    taken = [self._outbox.popleft() for _ in range(count)]
                    try:
                        await _transmit(connection, text)
                    except (ConnectionClosed, asyncio.CancelledError):
                        self._outbox.extendleft(reversed(taken))
                        raise
                self._posted.clear()
                await self._posted.wait()

    async def _beat(self, connection: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(self._options.heartbeat)
                payload = {"activeSessions": len(self._sessions.active()), "capacity": CAPACITY, "status": "online"}
                text, _ = self._dialect.encode([Notice(type="heartbeat", payload=payload)], _now())
                await _transmit(connection, text)

    async def _work(self) -> None:
        while True:
            begun = self._ledger.begin()
            if begun is None:
                self._received.clear()
                await self._received.wait()
                continue
            command, ack = begun
            self._post(ack)
            outcome = await self._execute(command)
            if outcome.kind == "complete" and command.action == "start_session":
                self._post(_status(outcome.body))
            self._post(self._ledger.end(outcome))

    async def _execute(self, command: Command) -> Outcome:
        """Carry a command out, and say now and then that it takes its time."""
        began = time.monotonic()
        execution = asyncio.create_task(
            asyncio.to_thread(self._sessions.carry_out, command.action, command.payload), name=command.command_id
        )
        try:
            while not (await asyncio.wait([execution], timeout=self._options.progress))[0]:
                report = self._ledger.progress({"seconds": round(time.monotonic() - began)})
                self._post(*([report] if report else []))
            result = execution.result()
        except Exception as error:  # noqa: BLE001 - nothing that one command does may stop those behind it
            log(f"failed {command.command_id}: {error}")
            return Outcome(kind="failed", body=str(error))
        log(f"completed {command.command_id}: session {result['sessionId']} {result['state']}")
        return Outcome(kind="complete", body=result)


async def _transmit(connection: ClientConnection, text: str | None) -> None:
    if text is not None:
        pieces = fragments(text)
        await connection.send(pieces if len(pieces) > 1 else text)


def _status(result: dict[str, Any]) -> Notice:
    about = {key: result[key] for key in ("sessionId", "state", "vncPort")}
    platform = {key: result[key] for key in ("podIP", "podName")}
    return Notice(type="status", payload={"platformMetadata": platform, **about, "vncReady": True}, stamped=False)


def log(text: str) -> None:
    """Print one event."""
    print(f"{datetime.now().astimezone():%H:%M:%S} {text}", flush=True)  # noqa: T201 - standard output is its log


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


async def _until_told(agent: Agent) -> None:
    task = asyncio.create_task(agent.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    log("ended; the sessions stay")


def main() -> int:
    """Run the agent as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.reference_agent.__main__", description="A demonstration agent."
    )
    parser.add_argument("--url", required=True, help="the dispatcher, for example http://127.0.0.1:8000")
    parser.add_argument("--id", required=True, help="the agent's id")
    parser.add_argument("--key", default=os.environ.get("AGENT_API_KEY"), help="its key (else AGENT_API_KEY)")
    parser.add_argument("--state", required=True, type=Path, help="the folder of its sessions' records")
    parser.add_argument("--platform", default="kubernetes", help="what it says it runs on (%(default)s)")
    parser.add_argument("--region", default="us-east-1", help="where it says it is (%(default)s)")
    parser.add_argument("--heartbeat", type=float, default=30.0, help="seconds between heartbeats (%(default)s)")
    parser.add_argument("--poll", type=float, default=30.0, help="seconds between questions for approval (%(default)s)")
    parser.add_argument("--progress", type=float, default=5.0, help="seconds between reports of progress (%(default)s)")
    parser.add_argument("--backoff-max", type=float, default=32.0, help="the longest wait in seconds (%(default)s)")
    parser.add_argument("--protocol", type=int, choices=(1, 2), default=1, help="which one it speaks (%(default)s)")
    parser.add_argument("--window", type=int, default=32, help="commands unacknowledged in protocol 2 (%(default)s)")
    options = parser.parse_args()
    if not options.key:
        parser.error("--key or AGENT_API_KEY is needed")
    if not options.url.startswith(("http://", "https://")):
        parser.error("--url begins with http:// or https://")
    if not 1 <= options.window <= WINDOW_MOST:
        parser.error(f"--window is a number from 1 to {WINDOW_MOST}")
    options.url = options.url.rstrip("/")
    dialect = First() if options.protocol == 1 else Second(options.window)
    asyncio.run(_until_told(Agent(options, Sessions(options.state), dialect)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
