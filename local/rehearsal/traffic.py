"""Traffic for a rehearsal: agents in their own processes, and an operator who submits commands without a break.

The operator repeats a command under its idempotency key until it is accepted.  What was accepted, and what each agent executed,
is compared in the end.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import urllib3

from local.http_client import Client, Refused

ROOT = Path(__file__).resolve().parents[2]
ENDED = {"completed", "failed", "expired", "cancelled", "dead", "timed_out"}
NOT_NOW = range(500, 600)
"""Statuses after which the operator repeats the request."""


class RehearsalFailed(Exception):
    """A check of a rehearsal failed; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A command that was answered with 202."""

    key: str
    command_id: str
    agent_id: str
    at: float
    """When, on this machine's monotonic clock."""


@dataclass(slots=True, kw_only=True)
class Operator:
    """Submits commands to agents in turn, until it is stopped."""

    client: Client
    agents: Sequence[str]
    pause: float
    accepted: list[Accepted] = field(default_factory=list[Accepted])
    refused: Counter[str] = field(default_factory=Counter[str])
    """How often a request got no 202, by what came instead."""
    longest_gap: float = 0.0
    """The longest time between two commands that were accepted, in seconds."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Submit until `stop`."""
        before = time.monotonic()
        for number in count():
            agent = self.agents[number % len(self.agents)]
            key = f"rehearsal-{number}"
            while (command_id := self._submit(agent, key)) is None:
                if self._stop.wait(max(self.pause, 0.05)):
                    return
            now = time.monotonic()
            self.accepted.append(Accepted(key=key, command_id=command_id, agent_id=agent, at=now))
            self.longest_gap, before = max(self.longest_gap, now - before), now
            if self._stop.wait(self.pause):
                return

    def stop(self) -> None:
        """Submit nothing more."""
        self._stop.set()

    def _submit(self, agent: str, key: str) -> str | None:
        try:
            path = f"/api/v1/agents/{agent}/commands"
            answer = self.client.post(path, {"action": "work", "payload": {"key": key}}, idempotency_key=key)
        except Refused as refused:
            if refused.status not in NOT_NOW:
                raise
            self.refused[str(refused.status)] += 1
            return None
        except urllib3.exceptions.HTTPError as error:
            self.refused[type(error).__name__] += 1
            return None
        command_id: str = answer["commandId"]
        return command_id


@dataclass(slots=True, kw_only=True)
class Traffic:
    """Agents that run and an operator that submits."""

    operator: Operator
    folder: Path
    _thread: threading.Thread
    _errors: list[BaseException]

    @property
    def accepted(self) -> list[Accepted]:
        """What was accepted so far."""
        return list(self.operator.accepted)

    def executed(self) -> Counter[str]:
        """Return how often each command was executed."""
        files = (self.folder / agent / "executed" for agent in self.operator.agents)
        return Counter(word for file in files if file.exists() for word in file.read_text().split())

    def wait_for(self, more: int, seconds: float = 60.0) -> None:
        """Wait until so many more commands were executed."""
        wanted = self.executed().total() + more
        until(f"{more} more commands are executed", lambda: self.executed().total() >= wanted, seconds)

    def stop(self) -> None:
        """Submit nothing more; raises what the operator met."""
        self.operator.stop()
        self._thread.join(60)
        if self._errors:
            raise self._errors[0]

    def settle(self, client: Client, seconds: float = 90.0) -> int:
        """Check that every accepted command is completed and was executed once; return how many were sent more than once."""
        ids = {each.command_id for each in self.accepted}
        found: dict[str, dict[str, Any]] = {}

        def have_ended() -> bool:
            found.update({each["commandId"]: each for each in _commands(client) if each["commandId"] in ids})
            return set(found) == ids and {each["status"] for each in found.values()} <= ENDED

        until("every accepted command has ended", have_ended, seconds)
        statuses = Counter(each["status"] for each in found.values())
        expect(set(statuses) == {"completed"}, f"every accepted command is completed: {statuses}")
        executed = self.executed()
        expect(set(executed.values()) == {1}, f"each command is executed once: {executed.most_common(3)}")
        expect(ids <= set(executed), "every accepted command is executed")
        check = client.get("/api/v1/loss-check")
        expect(check["clean"], f"the loss check is clean: {check['findings']}")
        return sum(each["attempt"] > 1 for each in found.values())


def _commands(client: Client) -> Iterator[dict[str, Any]]:
    """Yield every command."""
    cursor = ""
    while True:
        page = client.get(f"/api/v1/commands?limit=200{cursor}")
        yield from page["commands"]
        if page["nextCursor"] is None:
            return
        cursor = f"&cursor={page['nextCursor']}"


def until(what: str, holds: Callable[[], bool], seconds: float) -> None:
    """Wait until a condition holds; raises RehearsalFailed."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise RehearsalFailed(f"This did not happen within {seconds:.0f} s: {what}.")
        time.sleep(0.05)


def expect(holds: bool, fact: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Check a fact; raises RehearsalFailed with it."""
    if not holds:
        raise RehearsalFailed(f"This does not hold: {fact}.")


@contextlib.contextmanager
def running(client: Client, folder: Path, *, agents: int = 2, pause: float = 0.1) -> Generator[Traffic]:
    """Create agents, start their processes and submit to them until the block ends."""
    names = [f"rehearsal-{number}" for number in range(agents)]
    with contextlib.ExitStack() as processes:
        for name in names:
            key = client.post("/api/v1/agents", {"agentId": name, "platform": "linux"})["apiKey"]
            processes.enter_context(_agent(client.url, name, key, folder / name))
        for name in names:
            until(f"{name} is online", partial(_is_online, client, name), 60.0)
        operator = Operator(client=client, agents=names, pause=pause)
        errors: list[BaseException] = []

        def submit() -> None:
            try:
                operator.run()
            except BaseException as error:  # noqa: BLE001 - `stop` raises it in the thread that waits
                errors.append(error)

        thread = threading.Thread(target=submit, daemon=True)
        traffic = Traffic(operator=operator, folder=folder, _thread=thread, _errors=errors)
        thread.start()
        try:
            yield traffic
        finally:
            operator.stop()
            thread.join(60)


def _is_online(client: Client, agent: str) -> bool:
    return bool(client.get(f"/api/v1/agents/{agent}")["presence"] == "online")


@contextlib.contextmanager
def _agent(url: str, name: str, key: str, folder: Path) -> Generator[None]:
    folder.mkdir(parents=True)
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.rehearsal.worker", str(folder)],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{ROOT}:{ROOT / 'clients/python/src'}",
                "DISPATCHER_URL": url,
                "AGENT_ID": name,
                "AGENT_API_KEY": key,
            },
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()
