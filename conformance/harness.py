"""What every scenario uses: a simulated service, one process of the agent, and a record of the commands sent to it."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

from conformance.agent_connection import AgentConnection, ReceivedMessage
from conformance.agent_process import AgentProcess
from conformance.findings import Findings
from conformance.message_codec import Command, Report, encode
from conformance.simulated_service import SimulatedService

UNKNOWN_ACTION = "conformance_unknown_action"
NO_ACKS_EXPECTED = "agents of the platform docker are not expected to acknowledge"
_POLL_SECONDS = 0.01


class ScenarioAborted(Exception):
    """The scenario cannot go on; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many seconds the kit waits for the agent before it judges."""

    start: float = 15.0
    """From the start of the process to its registration, and from there to its connection."""
    answer: float = 5.0
    """To the end of a command with an unknown action, to a pong, and from SIGTERM to the end of the process."""
    execution: float = 20.0
    """To the end of a command with a known action."""
    settle: float = 1.0
    """For late acks, and for the end of a process whose connection has ended."""
    reconnect: float = 20.0
    """More than the first four pauses without jitter: 1, 2, 4 and 8 s."""
    resend: float = 2.0
    """From a reconnection to the reports that could not be sent before it."""
    outage: float = 7.0
    """How long the service fails, unless three attempts come earlier."""
    approval: float = 45.0
    """Between two registrations while the approval is pending."""
    window: float = 3.0
    """In which more than MOST_CALLS are too many."""
    shortest_pauses: float = 0.5
    """Four pauses with full jitter are shorter together in 4 of 100,000 runs."""
    heartbeat: float = 35.0
    ping: float = 65.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user of the kit asked for."""

    agent: str
    protocol: int | None = None
    actions: tuple[tuple[str, Any], ...] = (
        ("start_session", {"sessionId": "conformance-{n}", "template": "firefox-browser", "user": "conformance"}),
        ("stop_session", {"sessionId": "conformance-{n}"}),
    )
    slow: bool = False
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A command that was sent; its ack may be lost if the connection was closed right after it."""

    at: float
    command: Command
    ack_may_be_lost: bool


class Harness:
    """One agent process and its simulated service, for one scenario; entering it starts the service, not the agent."""

    _numbers = itertools.count(1)
    connection: AgentConnection
    """The connection that the scenario uses."""

    def __init__(self, options: Options, findings: Findings, scenario: str, folder: Path) -> None:
        self.options, self.findings, self.scenario, self.folder = options, findings, scenario, folder
        self.limits = options.limits
        self.deliveries: list[Delivery] = []
        self.agent_id = f"conformance-{scenario}"
        self.key = f"{next(self._numbers):064x}"
        self.service = SimulatedService(self.agent_id)

    async def __aenter__(self) -> Self:
        self.folder.mkdir()
        await self.service.__aenter__()
        placeholders = {"url": self.service.url, "id": self.agent_id, "key": self.key, "dir": str(self.folder)}
        self.agent = AgentProcess(self.options.agent, placeholders, self.folder / "conformance.log")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.agent.terminate(2)
        await self.agent.kill()
        await self.service.__aexit__()

    async def until(self, condition: Callable[[], object], seconds: float) -> bool:
        """Wait for the condition, the end of the agent's process or the end of the time; return the condition."""
        end = time.monotonic() + seconds
        while not condition() and self.agent.exit_code is None and time.monotonic() < end:  # noqa: ASYNC110 - of many events
            await asyncio.sleep(_POLL_SECONDS)
        return bool(condition())

    async def start_and_connect(self, check: str | None = None) -> AgentConnection:
        """Start the agent, or restart it, and wait for its connection."""
        await self.agent.kill()
        before = len(self.service.connections)
        await self.agent.start()
        return await self.connected(check, after=before, seconds=self.limits.start)

    async def connected(self, check: str | None = None, *, after: int, seconds: float) -> AgentConnection:
        """Use the newest connection once there are more than `after`, and judge the check by that.

        Raises ScenarioAborted if no connection comes.
        """
        came = await self.until(lambda: len(self.service.connections) > after, seconds)
        if check is not None:
            self.findings.judge(check, None if came else self.why_absent())
        if not came:
            raise ScenarioAborted(self.why_absent())
        self.connection = self.service.connections[-1]
        return self.connection

    def why_absent(self) -> str:
        """Say why the agent is not connected, as far as the harness can see."""
        if self.agent.exit_code is not None:
            output = self.agent.last_output()
            ended = f"the agent's process ended with exit code {self.agent.exit_code}"
            return f"{ended}\nits last output:\n{output}" if output else f"{ended} and printed nothing"
        calls = [f"{call.what} ({call.status})" for call in self.service.calls[-3:]]
        return f"the agent does not connect; its last requests: {', '.join(calls) or 'none'}"

    def unknown_command(self, *, attempt: int = 1, **payload: Any) -> Command:
        """Make a command with an action that no agent knows."""
        return Command(command_id=self._command_id(), action=UNKNOWN_ACTION, payload=payload, attempt=attempt)

    def known_commands(self) -> list[Command]:
        """Make one command for each of the agent's actions, all with the same number in their payloads."""
        number = str(next(self._numbers))
        filled = [(action, json.dumps(payload).replace("{n}", number)) for action, payload in self.options.actions]
        return [Command(command_id=self._command_id(), action=action, payload=json.loads(p)) for action, p in filled]

    def record(self, *commands: Command, unknown_fields: bool = False, ack_may_be_lost: bool = False) -> list[str]:
        """Record that commands are sent now, and return the messages to send."""
        now = time.monotonic()
        self.deliveries += [Delivery(at=now, command=each, ack_may_be_lost=ack_may_be_lost) for each in commands]
        return encode(self.connection.protocol, commands, unknown_fields=unknown_fields)

    def send(self, *commands: Command) -> None:
        """Send commands."""
        self.connection.send(*self.record(*commands))

    def messages(self) -> list[ReceivedMessage]:
        """Return what the agent sent over all connections, in the order of arrival."""
        messages = [message for connection in self.service.connections for message in connection.messages]
        return sorted(messages, key=attrgetter("at"))

    def reports(self, since: float = 0.0) -> list[Report]:
        """Return the reports in the order of arrival; those of a docker agent get the command that they belong to."""
        return [
            report if report.command_id else replace(report, command_id=self._command_of(report, message.at))
            for message in self.messages()
            for report in message.decoded.reports
            if message.at >= since
        ]

    def _command_of(self, report: Report, at: float) -> str | None:
        """Return the last command that was sent for the session of a docker agent's answer."""
        sent = [delivery.command for delivery in self.deliveries if delivery.at <= at]
        return next((c.command_id for c in reversed(sent) if c.session_id == report.session_id), None)

    def unacknowledged(self) -> list[str]:
        """Return the commands that ended without an ack but needed one."""
        if not self.acks_expected:
            return []
        reports = self.reports()
        acked = {report.command_id for report in reports if report.kind == "ack"}
        # A command that ended as cancelled may never have begun: it needs no ack.
        ended = {report.command_id for report in reports if report.kind in {"complete", "failed"}}
        sent = [each.command.command_id for each in self.deliveries if not each.ack_may_be_lost]
        return [command_id for command_id in sent if command_id in ended - acked]

    async def wait_for_late_acks(self) -> None:
        """Wait a moment, so that a late ack does not count as missing."""
        await self.until(lambda: not self.unacknowledged(), self.limits.settle)

    def end_of(self, command: Command, since: float = 0.0) -> Report | None:
        """Return the first report since a time that ends the command."""
        return next((r for r in self.reports(since) if r.is_end and r.command_id == command.command_id), None)

    def acknowledged(self, command: Command, since: float = 0.0) -> bool:
        """Tell whether this attempt was acknowledged since a time; in protocol 1, whether the command was."""
        acks = [r for r in self.reports(since) if r.kind == "ack" and r.command_id == command.command_id]
        return any(ack.attempt in {None, command.attempt} for ack in acks)

    async def wait_for_answer(self, command: Command) -> None:
        """Wait for the ack or the end of a command."""
        connection = self.connection
        await self.until(
            lambda: self.acknowledged(command) or self.end_of(command) or connection.closed, self.limits.answer
        )

    async def wait_for_ends(self, *commands: Command, seconds: float | None = None, since: float = 0.0) -> str | None:
        """Wait for the end of each command; return None when all came, else what happened instead."""
        for command in commands:
            problem = await self._wait_for_end(command, seconds or self.limits.answer, since)
            if problem is not None:
                return problem
        return None

    async def _wait_for_end(self, command: Command, seconds: float, since: float) -> str | None:
        connection = self.connection
        await self.until(lambda: self.end_of(command, since) or connection.closed, seconds)
        if self.end_of(command, since):
            return None
        if connection.closed:  # perhaps because the process is ending
            await self.until(lambda: False, self.limits.settle)
        if self.agent.exit_code is not None:
            return self.why_absent()
        if connection.closed:
            return f"{connection.describe_end()} before {command.command_id} ended"
        kinds = [report.kind for report in self.reports(since) if report.command_id == command.command_id]
        return f"{command.command_id} did not end within {seconds:.0f} s; its reports: {', '.join(kinds) or 'none'}"

    async def execute(self, *commands: Command, seconds: float | None = None) -> str | None:
        """Send each command after the end of the one before; return None when all ended, else what happened instead."""
        for command in commands:
            self.send(command)
            problem = await self.wait_for_ends(command, seconds=seconds)
            if problem is not None:
                return problem
        return None

    @property
    def acks_expected(self) -> bool:
        """Whether the agent has to acknowledge; agents of the platform docker do not."""
        registrations = self.service.called("register")
        try:
            return not registrations or json.loads(registrations[-1].body).get("platform") != "docker"
        except (ValueError, AttributeError):
            return True

    def _command_id(self) -> str:
        return f"cmd-conformance:{next(self._numbers)}@{self.agent_id}"
