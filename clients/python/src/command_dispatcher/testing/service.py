"""Plays the dispatcher to an agent, in memory and in milliseconds."""

import asyncio
import itertools
import json
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from command_dispatcher.agent.agent import Agent
from command_dispatcher.agent.writes import Storage

from .agent_under_test import AgentUnderTest
from .clock import Clock
from .memory import MemoryStorage

_ENDS = {"complete": "completed", "failed": "failed", "cancelled": "cancelled"}
_QUIET_ROUNDS = 5
"""So many rounds of the event loop without an event: then nothing goes on before more time passes."""
_STEP_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class Sent:
    """A command of a test, as the service sees it."""

    id: str
    action: str
    payload: Any
    session_id: str | None = None
    execution_seconds: float = 600.0
    deliver_by: datetime | None = None
    status: str = "pending"
    """pending, sent, acknowledged, completed, failed, cancelled or timed_out."""
    attempt: int = 0
    result: Any = None
    error: str | None = None
    progress: list[Any] = field(default_factory=list[Any])
    reports: list[str] = field(default_factory=list[str])
    """The kinds of all reports about it, in order."""
    cancel_requested: bool = False
    deadline: float = 0.0
    retry_at: float = 0.0
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def has_ended(self) -> bool:
        """Whether it has its last status, as far as the service knows."""
        return self._ended.is_set()

    async def ended(self) -> Self:
        """Wait for its end, in real time; returns itself."""
        await self._ended.wait()
        return self

    def end(self, status: str) -> None:
        """Give it its last status."""
        self.status = status
        self._ended.set()

    def entry(self) -> dict[str, Any]:
        """Return it as the service sends it."""
        return {
            "commandId": self.id,
            "attempt": self.attempt,
            "action": self.action,
            "sessionId": self.session_id,
            "payload": self.payload,
            "executionTimeoutSeconds": self.execution_seconds,
            **({} if self.deliver_by is None else {"deliverBy": self.deliver_by.isoformat()}),
        }


class Service:
    """Delivers commands to an agent and takes its reports, by the rules of docs/protocol.md.

    It confirms reports, delivers again what was not acknowledged, repeats what its agent calls retryable, times commands
    out, and repeats a cancel over each connection.  The time passes as always, and jumps with `advance`.
    """

    def __init__(self, agent: Agent | None = None, *, storage: Storage | None = None) -> None:
        """`agent` is started with the block; `storage` replaces the state file in memory."""
        self.storage = MemoryStorage()
        """The agent's state file in memory; it outlives `crash`."""
        self._storage: Storage = storage or self.storage
        self.messages: list[dict[str, Any]] = []
        """Everything that the agent said."""
        self.commands: list[Sent] = []
        self.connections = 0
        """How many connections the agent has opened so far."""
        self.reachable = True
        """Whether the agent can connect."""
        self.confirms = True
        """Whether reports are confirmed."""
        self.welcome: dict[str, Any] = {
            "heartbeatSeconds": 30,
            "moveAfterSeconds": 6300,
            "reconnect": {"minSeconds": 1, "spreadSeconds": 30},
        }
        self._first_agent = agent
        self._agent: AgentUnderTest | None = None
        self._numbers = itertools.count(1)

    @property
    def is_connected(self) -> bool:
        """Whether the agent is connected."""
        return self._agent is not None and self._agent.is_connected

    async def __aenter__(self) -> Self:
        self._clock = Clock()
        self._clock.start()
        if self._first_agent is not None:
            await self.start(self._first_agent)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.crash()
        self._clock.stop()

    # ── The agent's life ───────────────────────────────────────────────────────────────────────────────────────

    async def start(self, agent: Agent) -> None:
        """Start an agent, after `crash` with what it had stored; returns when it has done what needs no time."""
        if self._agent is not None:
            raise RuntimeError("an agent runs already: crash() ends it")
        self._agent = AgentUnderTest(agent, self._storage, self._clock, self)
        self._agent.reachable = lambda: self.reachable
        self._agent.begin()
        await self.settle()

    async def crash(self) -> None:
        """End the agent as `kill -9` does: nothing more is stored or said; its handlers are cancelled."""
        agent, self._agent = self._agent, None
        if agent is not None:
            await agent.end()

    async def drain(self, seconds: float = 30.0) -> None:
        """Ask the agent to end, as SIGTERM does; returns when it has ended, by itself or after its time."""
        if self._agent is None:
            return
        core = self._agent.engine.core
        self._agent.engine.drain(seconds)
        await self.settle()
        while not core.is_finished:
            await self.advance(_STEP_SECONDS)
        await self.crash()

    # ── What an operator does ──────────────────────────────────────────────────────────────────────────────────

    def deliver(
        self,
        action: str,
        payload: Any = None,
        *,
        session_id: str | None = None,
        execution_seconds: float = 600.0,
        deliver_by: datetime | None = None,
    ) -> Sent:
        """Send a command; while the agent is away it waits."""
        command = Sent(
            id=f"cmd-{next(self._numbers)}",
            action=action,
            payload={} if payload is None else payload,
            session_id=session_id,
            execution_seconds=execution_seconds,
            deliver_by=deliver_by,
        )
        self.commands.append(command)
        self._send_pending()
        return command

    def redeliver(self, command: Sent) -> None:
        """Send a command again, with the next attempt, whatever its status."""
        self._send([command])

    def cancel(self, command: Sent) -> None:
        """Cancel a command: at once if it is pending, else by asking the agent."""
        command.cancel_requested = True
        if command.status == "pending":
            command.end("cancelled")
        self._send_stops([command])

    def cut(self) -> None:
        """Cut the connection."""
        if self._agent is not None:
            self._agent.cut()

    # ── Time ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def advance(self, seconds: float) -> None:
        """Let this much time pass for the agent, its handlers and the service, in steps of at most a second."""
        until = self._clock.monotonic() + seconds
        await self.settle()
        while self._clock.monotonic() < until:
            due = [until]
            if any(not each.has_ended for each in self.commands):  # a handler may sleep
                due.append(self._clock.monotonic() + _STEP_SECONDS)
            if self._agent is not None:
                due += [each for each in [self._agent.next_due()] if each is not None]
            self._clock.jump(min(due))
            if self._agent is not None:
                self._agent.tick()
            self._time_out()
            self._send_pending()
            await self.settle()

    async def settle(self) -> None:
        """Let everything happen that needs no time; a handler in a thread may need longer."""
        quiet = 0
        while quiet < _QUIET_ROUNDS:
            before = self._agent and self._agent.events
            await asyncio.sleep(0)
            quiet = quiet + 1 if before == (self._agent and self._agent.events) else 0

    def _time_out(self) -> None:
        overdue = [each for each in self.commands if each.status == "acknowledged"]
        overdue = [each for each in overdue if each.deadline <= self._clock.monotonic()]
        for command in overdue:
            command.end("timed_out")
        self._send_stops(overdue)

    # ── The connection ─────────────────────────────────────────────────────────────────────────────────────────

    def connecting(self) -> None:
        """Take note of a new connection: what was not acknowledged is pending again."""
        self.connections += 1
        for command in self.commands:
            if command.status == "sent":
                command.status = "pending"

    def connected(self) -> None:
        """Send what the agent has not named."""
        self._post({"type": "welcome", "epoch": self.connections, **self.welcome})
        self._send_pending()
        self._send_stops([each for each in self.commands if each.cancel_requested or each.status == "timed_out"])

    def disconnected(self) -> None:
        """Take note that there is no connection."""

    def said(self, text: str) -> None:
        """Take a message of the agent."""
        message = json.loads(text)
        self.messages.append(message)
        if message["type"] == "resume":
            self._resume({each["commandId"]: each["attempt"] for each in message["running"]})
        for report in message.get("reports", []):
            self._report(report)
        if self.confirms and "id" in message:
            self._post({"type": "received", "id": message["id"]})

    def _send_pending(self) -> None:
        now = self._clock.monotonic()
        if self.is_connected:
            self._send([each for each in self.commands if each.status == "pending" and each.retry_at <= now])

    def _send(self, commands: list[Sent]) -> None:
        for command in commands:
            command.attempt += 1
            command.status = "sent"
        if commands:
            self._post({"type": "commands", "commands": [each.entry() for each in commands]})

    def _send_stops(self, commands: list[Sent]) -> None:
        for command in commands:
            if command.status in {"sent", "acknowledged", "timed_out"}:
                self._post({"type": "cancel", "commandId": command.id, "attempt": command.attempt})

    def _post(self, message: dict[str, Any]) -> None:
        if self._agent is not None:
            self._agent.send(json.dumps(message))

    def _resume(self, running: dict[str, int]) -> None:
        for command in self.commands:
            if (
                command.id in running
                and command.status in {"sent", "pending"}
                and command.attempt == running[command.id]
            ):
                self._acknowledge(command)
            elif command.id not in running and command.status == "acknowledged":
                command.error = "lost by its agent"
                command.end("timed_out")

    def _report(self, report: dict[str, Any]) -> None:
        command = next(each for each in self.commands if each.id == report["commandId"])
        command.reports.append(report["kind"])
        if report["kind"] == "ack":
            if command.status in {"sent", "pending"} and command.attempt == report["attempt"]:
                self._acknowledge(command)
        elif report["kind"] == "progress":
            command.progress.append(report["progress"])
            command.deadline = self._clock.monotonic() + command.execution_seconds
        elif command.status not in _ENDS.values():
            command.error = report.get("error")
            command.result = report.get("result")
            if report.get("retryable") and not command.cancel_requested:
                command.status = "pending"
                command.retry_at = self._clock.monotonic() + 2.0**command.attempt
            else:
                command.end(_ENDS[report["kind"]])

    def _acknowledge(self, command: Sent) -> None:
        command.status = "acknowledged"
        command.deadline = self._clock.monotonic() + command.execution_seconds
