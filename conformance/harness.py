"""Where a scene plays: the server and the agent's process, what was sent, and what came of it."""

import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

from conformance.codec import Command, Report, encode
from conformance.findings import Findings
from conformance.link import Link
from conformance.process import AgentProcess
from conformance.server import Server

ANSWER_SECONDS = 5.0
"""How long an agent may take for a command that it does not know, and for pongs."""
EXECUTION_SECONDS = 20.0
"""How long it may take for an action that it knows."""
SETTLE_SECONDS, EXIT_SECONDS = 0.5, 0.3
"""How long late acks are waited for, and the end of a process whose connection has ended."""
RETURN_SECONDS = 20.0
"""More than the reconnection delays up to here, without jitter: 1, 2, 4 and 8 s."""
UNKNOWN_ACTION = "conformance_unknown_action"


class CurtainError(Exception):
    """The scene can not go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the author asked for."""

    agent: str
    protocol: int | None = None
    actions: tuple[tuple[str, Any], ...] = (
        ("start_session", {"sessionId": "conformance-{n}", "template": "firefox-browser", "user": "conformance"}),
        ("stop_session", {"sessionId": "conformance-{n}"}),
    )
    slow: bool = False
    patience: float = 15.0
    """Seconds until an agent that was started must have registered."""


@dataclass(slots=True, kw_only=True)
class Sent:
    """A command that went to the agent, with the attempts in which it did."""

    command: Command
    attempts: list[int] = field(default_factory=list[int])
    lossy: bool = False
    """Whether the connection was closed with it, so that its ack may have been lost."""


class Stage:
    """One agent of its own, with a server of its own."""

    _numbers = itertools.count(1)

    def __init__(self, options: Options, findings: Findings, name: str, folder: Path) -> None:
        """Set a stage for the scene of this name, in a folder that is made."""
        self.options = options
        self.findings = findings
        self.name = name
        self.sent: dict[str, Sent] = {}
        self._deliveries: list[tuple[float, Command]] = []
        self.agent_id = f"conformance-{name}"
        self.key = f"{next(self._numbers):064x}"
        self.server = Server(self.agent_id)
        self._folder = folder

    async def __aenter__(self) -> Self:
        """Open the server; the agent is not started yet."""
        self._folder.mkdir()
        await self.server.__aenter__()
        places = {
            "url": f"http://127.0.0.1:{self.server.port}",
            "id": self.agent_id,
            "key": self.key,
            "dir": str(self._folder),
        }
        self.agent = AgentProcess(self.options.agent, places, self._folder / "conformance.log", self.server.bell)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the agent, then the server."""
        await self.agent.terminate(2)
        await self.agent.kill()
        await self.server.__aexit__()

    async def until(self, holds: Callable[[], object], seconds: float) -> bool:
        """Wait until it holds, or the agent's process has ended, or so many seconds; return whether it holds."""
        await self.server.bell.until(lambda: holds() or self.agent.exit_code is not None, seconds)
        return bool(holds())

    async def connected(self, *, after: int = 0, seconds: float | None = None) -> Link:
        """Return the newest connection when there are more than `after`; CurtainError when none comes."""
        if not await self.until(lambda: len(self.server.links) > after, seconds or self.options.patience):
            raise CurtainError(self.absence())
        return self.server.links[-1]

    async def restarted(self) -> Link:
        """Start the agent anew, and return its connection."""
        await self.agent.kill()
        before = len(self.server.links)
        await self.agent.start()
        return await self.connected(after=before)

    def absence(self) -> str:
        """Say why nothing comes from the agent, as far as one can see."""
        if self.agent.exit_code is not None:
            words = self.agent.last_words()
            ended = f"the agent's process has ended with {self.agent.exit_code}"
            return f"{ended}; its last words were\n{words}" if words else f"{ended}, without a word"
        calls = [f"{call.what} ({call.status})" for call in self.server.calls[-3:]]
        return f"the agent does not connect; its last calls: {', '.join(calls) or 'none'}"

    def unknown(self, *, attempt: int = 1, **payload: Any) -> Command:
        """Make a command that no agent knows."""
        return Command(
            command_id=self._command_id(),
            action=UNKNOWN_ACTION,
            payload={"why": "conformance", **payload},
            attempt=attempt,
        )

    def known(self) -> list[Command]:
        """Make one command of each of the agent's actions, all about the same thing."""
        number = next(self._numbers)
        return [
            Command(command_id=self._command_id(), action=action, payload=_numbered(payload, number))
            for action, payload in self.options.actions
        ]

    def deliver(self, link: Link, *commands: Command, novel: bool = False, lossy: bool = False) -> list[str]:
        """Note that commands are sent, and return the messages to send."""
        for command in commands:
            known = self.sent.setdefault(command.command_id, Sent(command=command))
            known.attempts.append(command.attempt)
            self._deliveries.append((self.now(), command))
            known.lossy = known.lossy or lossy
        return encode(link.protocol, commands, novel=novel)

    def reports(self, since: float = 0.0) -> list[tuple[float, Report]]:
        """Return what was reported over all connections, in order; docker's answers get the command they belong to."""
        came = [(message.at, message.said) for link in self.server.links for message in link.messages]
        return [
            (at, report if report.command_id else replace(report, command_id=self._command_of(report, at)))
            for at, said in sorted(came, key=itemgetter(0))
            for report in said.reports
            if at >= since
        ]

    def _command_of(self, report: Report, at: float) -> str | None:
        """Return the command that was last sent before for the session of docker's answer."""
        before = [command for sent_at, command in self._deliveries if sent_at <= at]
        return next((c.command_id for c in reversed(before) if c.session_id == report.session_id), None)

    def unacked(self) -> list[str]:
        """Return the commands that ended without an ack, of those that should have had one."""
        reports = [report for _, report in self.reports()]
        acked = {report.command_id for report in reports if report.kind == "ack"}
        # What a cancel ended may never have begun.
        ended = {report.command_id for report in reports if report.kind in {"complete", "failed"}}
        return [name for name, sent in self.sent.items() if name in ended - acked and not (sent.lossy or self.silent)]

    async def settle(self) -> None:
        """Give acks that are late a moment, so that they are not taken for missing."""
        await self.until(lambda: not self.unacked(), SETTLE_SECONDS)

    def end_of(self, command: Command, since: float = 0.0) -> Report | None:
        """Return the first end of a command since a time."""
        return next((r for _, r in self.reports(since) if r.end and r.command_id == command.command_id), None)

    def acked(self, command: Command, since: float = 0.0) -> bool:
        """Tell whether this attempt of a command has been acknowledged since a time, or any attempt in protocol 1."""
        return any(
            r.kind == "ack" and r.command_id == command.command_id and r.attempt in {None, command.attempt}
            for _, r in self.reports(since)
        )

    async def ended(self, link: Link, command: Command, seconds: float, since: float = 0.0) -> str | None:
        """Wait for the end of a command; return what was seen instead of it, None if it came."""
        if await self.until(lambda: self.end_of(command, since) or link.closed, seconds) and self.end_of(
            command, since
        ):
            return None
        if link.closed:  # perhaps by its end
            await self.until(lambda: False, EXIT_SECONDS)
        if self.agent.exit_code is not None:
            return self.absence()
        if link.closed:
            return f"{link.end} before {command.command_id} ended"
        heard = [report.kind for _, report in self.reports(since) if report.command_id == command.command_id]
        return f"within {seconds:.0f} s no end of {command.command_id}, but {', '.join(heard) or 'nothing'}"

    async def executed(self, link: Link, commands: Sequence[Command], seconds: float = ANSWER_SECONDS) -> str | None:
        """Send commands one after the other, as protocol 1 wants it, and wait for the end of each."""
        for command in commands:
            link.send(*self.deliver(link, command))
            seen = await self.ended(link, command, seconds)
            if seen is not None:
                return seen
        return None

    @property
    def silent(self) -> bool:
        """Whether the agent is one of those that do not acknowledge."""
        bodies = [call.body for call in self.server.called("register")]
        try:
            return bool(bodies) and json.loads(bodies[-1]).get("platform") == "docker"
        except (ValueError, AttributeError):
            return False

    def now(self) -> float:
        """Return the time that `since` is compared with."""
        return time.monotonic()

    def _command_id(self) -> str:
        return f"cmd-conformance:{next(self._numbers)}@{self.agent_id}"


def _numbered(value: Any, number: int) -> Any:
    """Put the number for {n} into a payload, so that two runs of an action are about different things."""
    return json.loads(json.dumps(value).replace("{n}", str(number)))
