"""When an agent connects, moves, says that it lives, and reconnects."""

import asyncio
from itertools import pairwise

import pytest

from command_dispatcher import Agent, testing
from command_dispatcher.agent import Command
from command_dispatcher.agent.link import Failure, Link
from command_dispatcher.agent.messages import Welcome

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
    assert sorted(runs) == sorted(command.id for command in commands)
    del work


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
