"""An agent that is killed, cut off, or out of space: no handler runs twice, and no result is lost."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from command_dispatcher import Agent, Retry, testing
from command_dispatcher.agent import Command
from command_dispatcher.agent.writes import Accept, Begin, Confirm, End, Write

pytestmark = pytest.mark.anyio
SECONDS = 120.0


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the tests."""
    return "asyncio"


class Runs(Agent):
    """An agent that counts how often each command's handler ran."""

    def __init__(self, *, idempotent: bool = False) -> None:
        super().__init__()
        self.runs: Counter[str] = Counter()
        self.resumed: list[str] = []

        @self.on("work", idempotent=idempotent)
        async def work(command: Command) -> dict[str, Any]:
            self.runs[command.id] += 1
            if command.resumed:
                self.resumed.append(command.id)
            await asyncio.sleep(10)
            return {"attempt": command.attempt}

        del work


def crash_at(kind: type[Write]) -> Any:
    """Return a hook that kills the agent at the first commit of this kind."""
    killed: list[bool] = []

    def hook(writes: Sequence[Write]) -> None:
        if not killed and any(isinstance(write, kind) for write in writes):
            killed.append(True)
            raise testing.Crash

    return hook


POINTS = {
    "before the inbox": ("before_commit", Accept),
    "after the inbox, before the ack": ("after_commit", Accept),
    "before the handler": ("before_commit", Begin),
    "after the result, before it is sent": ("after_commit", End),
    "before the confirmation is stored": ("before_commit", Confirm),
    "after the confirmation is stored": ("after_commit", Confirm),
}


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_between_two_steps_neither_loses_a_command_nor_runs_it_twice(point: str) -> None:
    """It completes, by the same agent or by the next one."""
    agent = Runs()
    moment, kind = POINTS[point]
    async with testing.Service() as service:
        setattr(service.storage, moment, crash_at(kind))
        await service.start(agent)
        command = service.deliver("work")
        await service.advance(20)
        assert not service.is_connected
        await service.crash()

        await service.start(agent)
        await service.advance(SECONDS)

    assert agent.runs == {command.id: 1}
    assert (command.status, agent.resumed) == ("completed", [])


@pytest.mark.parametrize(
    ("idempotent", "runs", "status"), [(False, 1, "failed"), (True, 2, "completed")], ids=["interrupted", "resumed"]
)
async def test_a_command_that_is_found_half_run_is_interrupted_or_resumed(
    idempotent: bool,  # noqa: FBT001 - a parameter of pytest
    runs: int,
    status: str,
) -> None:
    """As its handler says.  Its ack is not repeated: the agent names it first of all."""
    agent = Runs(idempotent=idempotent)
    async with testing.Service(agent) as service:
        command = service.deliver("work")
        await service.advance(5)
        await service.crash()
        await service.start(agent)
        await service.advance(SECONDS)

    assert (agent.runs[command.id], command.status) == (runs, status)
    assert agent.resumed == ([command.id] if idempotent else [])
    if not idempotent:
        assert str(command.error).startswith("interrupted: ")
    resumes = [message["running"] for message in service.messages if message["type"] == "resume"]
    assert resumes == [[], [{"commandId": command.id, "attempt": 1}]]


async def test_a_result_is_said_again_until_it_is_confirmed() -> None:
    """Over the same connection after a while, and over the next one; also after a crash."""
    agent = Runs()
    async with testing.Service(agent) as service:
        service.confirms = False
        command = service.deliver("work")
        await service.advance(11)
        said = [command.reports.count("complete")]
        await service.advance(40)
        said.append(command.reports.count("complete"))
        service.cut()
        await service.advance(40)
        said.append(command.reports.count("complete"))
        await service.crash()
        await service.start(agent)
        await service.advance(5)
        said.append(command.reports.count("complete"))
        service.confirms = True
        await service.advance(40)
        confirmed = command.reports.count("complete")
        await service.advance(400)

    assert said[0] == 1
    assert said == sorted(set(said))
    assert command.reports.count("complete") == confirmed
    assert agent.runs == {command.id: 1}


async def test_a_full_disk_acknowledges_nothing_and_the_agent_comes_back_when_there_is_room(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It leaves the service, says why, and neither connects nor uses up attempts while the disk is full."""
    agent = Runs()
    async with testing.Service(agent) as service:
        service.storage.is_full = True
        command = service.deliver("work")
        await service.advance(300)
        full = (command.status, list(command.reports), service.is_connected, service.connections)
        service.storage.is_full = False
        await service.advance(SECONDS)

    assert full == ("sent", [], False, 1)
    assert "The state file cannot be written (database or disk is full)" in caplog.text
    assert (command.status, command.attempt, agent.runs) == ("completed", 2, {command.id: 1})


async def test_a_result_that_finds_the_disk_full_is_kept_and_said_later() -> None:
    """It is not said before it is stored: a crash could run the command again."""
    agent = Runs()
    async with testing.Service(agent) as service:
        command = service.deliver("work")
        await service.advance(5)
        service.storage.is_full = True
        await service.advance(100)
        full = list(command.reports)
        service.storage.is_full = False
        await service.advance(SECONDS)

    assert full == ["ack"]
    assert (command.status, agent.runs) == ("completed", {command.id: 1})


async def test_what_was_not_acknowledged_before_a_cut_is_the_services_again() -> None:
    """A command that waits for its turn is dropped: its operator may cancel it while the agent is away."""
    agent = Runs()
    async with testing.Service(agent) as service:
        running, waiting = service.deliver("work"), service.deliver("work")
        await service.settle()
        service.reachable = False
        service.cut()
        waiting.status = "pending"
        service.cancel(waiting)
        await service.advance(15)
        service.reachable = True
        await service.advance(SECONDS)

    assert (running.status, waiting.status) == ("completed", "cancelled")
    assert agent.runs == {running.id: 1}


async def test_after_sigterm_what_runs_is_finished_and_nothing_new_begins() -> None:
    """Its result is said and confirmed before the agent ends."""
    agent = Runs()
    async with testing.Service(agent) as service:
        running, waiting = service.deliver("work"), service.deliver("work")
        await service.settle()
        await service.drain(30)

    assert (running.status, waiting.status) == ("completed", "sent")
    assert agent.runs == {running.id: 1}


@pytest.mark.parametrize(("idempotent", "status"), [(False, "failed"), (True, "acknowledged")])
async def test_what_does_not_finish_in_time_after_sigterm_is_stopped(
    idempotent: bool,  # noqa: FBT001 - a parameter of pytest
    status: str,
) -> None:
    """It fails as interrupted, or is left to the next process."""
    agent = Runs(idempotent=idempotent)
    async with testing.Service(agent) as service:
        command = service.deliver("work")
        await service.settle()
        await service.drain(5)
        drained = command.status
        await service.start(agent)
        await service.advance(SECONDS)

    assert drained == status
    assert command.status == ("completed" if idempotent else "failed")


class History:
    """A random history of faults; its seed decides everything."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - it has to be repeatable
        self.agent = Agent(window=self.chance.choice([1, 3, 32]))
        self.agent.on("work")(self._work)
        self.agent.on("again")(self._again)
        self.runs: Counter[tuple[str, int]] = Counter()
        self.commands: list[testing.Sent] = []
        self.kills = True

    async def _work(self, command: Command) -> str:
        self.runs[command.id, 0] += 1
        await asyncio.sleep(self.chance.choice([0, 1, 5]))
        return "done"

    async def _again(self, command: Command) -> str:
        self.runs[command.id, command.attempt] += 1
        if command.attempt < 3:
            raise Retry(after=self.chance.choice([0, 20]))
        return "done"

    def maybe_kill(self, _: Sequence[Write]) -> None:
        """Kill the agent at some of its commits."""
        if self.kills and self.chance.random() < 0.05:
            raise testing.Crash

    async def happen(self, service: testing.Service) -> None:
        """Let one thing happen."""
        match self.chance.randrange(8):
            case 0:
                service.cut()
            case 1 if self.commands:
                service.cancel(self.chance.choice(self.commands))
            case 2:
                service.confirms = not service.confirms
            case 3:
                service.storage.is_full = self.chance.random() < 0.3
            case 4:
                await service.crash()
                await service.start(self.agent)
            case _:
                session = self.chance.choice([None, "a", "b"])
                self.commands.append(service.deliver(self.chance.choice(["work", "again"]), session_id=session))


@pytest.mark.parametrize("seed", range(30))
async def test_any_history_of_faults_ends_every_command_and_runs_none_twice(seed: int) -> None:
    """Kills at any commit, cuts, cancels, lost confirmations, a full disk."""
    history = History(seed)
    async with testing.Service(history.agent) as service:
        service.storage.before_commit = service.storage.after_commit = history.maybe_kill
        for _ in range(50):
            await history.happen(service)
            await service.advance(history.chance.choice([0, 1, 7]))
        history.kills, service.confirms, service.storage.is_full = False, True, False
        await service.crash()
        await service.start(history.agent)
        await service.advance(1500)
        stored = service.storage.load()

    assert [command.status for command in history.commands if not command.has_ended] == []
    assert [key for key, count in history.runs.items() if count > 1] == []
    assert [each for each in stored if each.state != "ended" or not each.confirmed] == []
