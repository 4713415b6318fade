"""When an agent connects, moves, says that it lives, and reconnects."""

import asyncio
import json
from itertools import pairwise
from time import monotonic
from typing import Any

import pytest

from command_dispatcher import Agent, testing
from command_dispatcher.agent import Command
from command_dispatcher.agent.core import Core, SystemClock
from command_dispatcher.agent.handlers import Handlers
from command_dispatcher.agent.link import Failure, Link
from command_dispatcher.agent.messages import Welcome
from command_dispatcher.agent.writes import Outcome

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the tests."""
    return "asyncio"


@pytest.mark.parametrize(("wanted", "least", "most"), [(30, 30, 31), (300, 300, 301), (900, 540, 541)])
async def test_a_heartbeat_comes_as_often_as_the_welcome_says_and_before_the_gateway_cuts(
    wanted: int, least: float, most: float
) -> None:
    """The gateway cuts a connection after 10 minutes without a message."""
    async with testing.Service() as service:
        service.welcome["heartbeatSeconds"] = wanted
        await service.start(Agent())
        counts: list[int] = []
        for seconds in (least - 1, most - least + 1):
            await service.advance(seconds)
            counts.append(sum(message["type"] == "heartbeat" for message in service.messages))

    assert counts == [0, 1]


async def test_the_agent_moves_to_a_new_connection_without_a_second_delivery_or_a_gap() -> None:
    """While it works; the new connection is open before the older one is closed."""
    agent = Agent()
    runs: list[str] = []

    @agent.on("work")
    async def work(command: Command) -> None:
        runs.append(command.id)
        await asyncio.sleep(2)

    async with testing.Service() as service:
        service.welcome["moveAfterSeconds"] = 60
        await service.start(agent)
        commands: list[testing.Sent] = []
        connected: list[bool] = []
        for _ in range(100):
            # The second one waits for its turn, unacknowledged, two fifths of the time.
            commands += [service.deliver("work"), service.deliver("work"), service.deliver("work", session_id="other")]
            await service.advance(5)
            connected.append(service.is_connected)
        await service.advance(30)

    assert 7 <= service.connections <= 10
    assert all(connected)
    assert [command.attempt for command in commands if command.attempt > 1] == []
    # It waits for a moment in which each command has its ack.
    assert {tuple(command.reports) for command in commands} == {("ack", "complete")}
    assert sorted(runs) == sorted(command.id for command in commands)
    del work


async def test_commands_that_wait_for_their_turn_move_with_the_agent() -> None:
    """There is no moment in which each command has its ack: the agent names what it has, in its first message."""
    agent = Agent()
    runs: list[str] = []

    @agent.on("work")
    async def work(command: Command) -> None:
        runs.append(command.id)
        await asyncio.sleep(2)

    async with testing.Service() as service:
        service.welcome["moveAfterSeconds"] = 60
        await service.start(agent)
        commands: list[testing.Sent] = [service.deliver("work") for _ in range(10)]
        for _ in range(100):
            commands.append(service.deliver("work"))
            await service.advance(2)
        await service.advance(30)

    assert service.connections >= 3
    assert [command.attempt for command in commands if command.attempt > 1] == []
    assert runs == [command.id for command in commands]
    del work


class _Lines:
    """What a core says over each of its connections."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def said(self, connection: int) -> list[Any]:
        """Commit everything, and return what the core says now."""
        while writes := self._core.take_writes():
            self._core.stored(writes)
        messages: list[Any] = []
        while (text := self._core.next_message(connection)) is not None:
            messages.append(json.loads(text))
        return messages


def _moving(handlers: Handlers) -> tuple[Core, _Lines]:
    """Return a core that is connected, has been welcomed, and opens a new connection."""
    core = Core(catalogue=handlers, clock=SystemClock(monotonic), window=5)
    core.start([])
    core.opened(1)
    lines = _Lines(core)
    [first] = lines.said(1)
    core.message(1, json.dumps({"type": "received", "id": first["id"]}))
    core.link.move()
    core.tick()
    assert core.link.moving
    return core, lines


def _handlers() -> Handlers:
    agent = Agent()

    @agent.on("work")
    async def work(_: Command) -> None:
        """Do nothing."""

    del work
    return agent.handlers


COMMANDS = json.dumps({"type": "commands", "commands": [{"commandId": "k1", "attempt": 1, "action": "work"}]})


def test_what_still_comes_over_the_older_connection_is_named_over_the_new_one() -> None:
    """The agent says nothing before the older connection has ended: then everything has come."""
    core, lines = _moving(_handlers())

    core.opened(2)
    early = lines.said(2)
    core.message(1, COMMANDS)
    core.closed(1)
    said = lines.said(2)

    assert early == []
    assert [(message["type"], message.get("running")) for message in said] == [
        ("resume", [{"commandId": "k1", "attempt": 1}])
    ]


def test_an_older_connection_that_ends_during_the_move_changes_nothing() -> None:
    """The service often closes it before the agent knows that the new one is open."""
    core, lines = _moving(_handlers())

    core.message(1, COMMANDS)
    core.closed(1)
    core.opened(2)
    said = lines.said(2)

    assert [message.get("running") for message in said] == [[{"commandId": "k1", "attempt": 1}]]


def test_nothing_is_said_before_the_service_has_received_what_is_said_first() -> None:
    """The service settles several messages at a time.  It is said at some time to a service that does not confirm it."""
    core, lines = _moving(_handlers())
    core.message(1, COMMANDS)
    lines.said(1)
    core.opened(2)
    core.closed(1)
    core.ended("k1", Outcome(kind="complete", body="null"))

    [first] = lines.said(2)
    core.message(2, json.dumps({"type": "received", "id": first["id"]}))
    then = lines.said(2)

    assert first["type"] == "resume"
    assert [message["type"] for message in then] == ["reports"]


def test_a_message_of_commands_may_say_what_is_received() -> None:
    """The agent asks for it, and says over the next connection only what was not confirmed."""
    core, lines = _moving(_handlers())
    core.message(1, COMMANDS)
    lines.said(1)
    core.ended("k1", Outcome(kind="complete", body="null"))
    [end] = lines.said(1)

    core.message(1, json.dumps({"type": "commands", "received": [end["id"], 7], "commands": []}))
    core.closed(1)
    core.opened(2)
    [first] = lines.said(2)
    core.message(2, json.dumps({"type": "received", "id": first["id"]}))

    assert end["receivedInCommands"] is True
    assert lines.said(2) == []


async def test_a_running_command_survives_the_move() -> None:
    """The first message over the new connection names it, and its result is said over that one."""
    agent = Agent()

    @agent.on("work")
    async def work(_: Command) -> str:
        await asyncio.sleep(100)
        return "done"

    async with testing.Service() as service:
        service.welcome["moveAfterSeconds"] = 60
        await service.start(agent)
        command = service.deliver("work")
        await service.advance(102)

    assert service.connections == 2
    assert (command.status, command.attempt, command.reports) == ("completed", 1, ["ack", "complete"])
    del work


async def test_facts_are_reported_after_connecting() -> None:
    """The agent's own, and what it knows by itself."""
    agent = Agent(facts={"rack": 7})

    @agent.on("restart")
    async def restart(command: Command) -> str:
        return command.id

    async with testing.Service(agent) as service:
        types = [message["type"] for message in service.messages]

    del restart
    assert types == ["resume", "facts"]
    facts = service.messages[1]["facts"]
    assert (facts["rack"], facts["actions"]) == (7, ["restart"])


def test_a_move_that_is_asked_for_while_a_connection_is_opened_is_not_forgotten() -> None:
    """That connection may have been opened with the older key; its welcome plans the next move, hours later."""
    core, _ = _moving(_handlers())

    core.link.move()
    core.opened(2)
    core.closed(1)
    core.message(2, json.dumps({"type": "welcome", "heartbeatSeconds": 30, "moveAfterSeconds": 6300}))
    core.tick()

    assert core.link.moving


class _Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _pauses(link: Link, time: _Time, count: int) -> list[float]:
    """Return the pauses between attempts that all fail."""
    moments: list[float] = [time.now]
    for _ in range(count):
        due = link.next_due()
        assert due is not None
        time.now = due
        link.tick(is_quiet=True)
        assert link.effects
        link.effects.clear()
        moments.append(time.now)
        link.failed(Failure.UNREACHABLE)
    return [later - earlier for earlier, later in pairwise(moments)]


def test_a_lost_connection_is_opened_again_at_random_within_what_the_service_says() -> None:
    """All agents of a service that restarted come back spread over that time."""
    firsts: list[float] = []
    for _ in range(300):
        time = _Time()
        link = Link(time)
        link.start()
        link.effects.clear()
        link.opened(1)
        link.welcomed(1, Welcome(heartbeat=30, move_after=6300, reconnect_min=2, reconnect_spread=20))
        time.now = 3600
        link.closed(1)
        firsts += _pauses(link, time, 1)

    assert 2 <= min(firsts) < 4
    assert 20 < max(firsts) <= 22


def test_pauses_grow_while_the_service_cannot_be_reached() -> None:
    """Up to 1, 2, 4 … 32 s, each at random."""
    histories: list[list[float]] = []
    for _ in range(300):
        time = _Time()
        link = Link(time)
        link.start()
        link.effects.clear()
        link.failed(Failure.UNREACHABLE)
        histories.append(_pauses(link, time, 7))

    longest = [max(column) for column in zip(*histories, strict=True)]
    for bound, pause in zip([1, 2, 4, 8, 16, 32, 32], longest, strict=True):
        assert bound * 0.9 < pause <= bound


@pytest.mark.parametrize("failure", [Failure.REFUSED, Failure.PENDING])
def test_a_refused_agent_asks_again_after_half_a_minute(failure: Failure) -> None:
    """An operator has to do something first."""
    time = _Time()
    link = Link(time)
    link.start()
    link.failed(failure)

    due = link.next_due()

    assert due is not None
    assert 30 <= due <= 40
