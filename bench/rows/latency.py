"""`latency`: from the request of an operator to the frame at a connected agent."""

import asyncio
import json
import time

from bench.agents import answer_second, background, dial
from bench.context import Bench
from bench.figures import Figure, Series, Target, percentile
from bench.http_connection import expect_success
from bench.product import Agent
from bench.raw_postgres import Listener
from bench.rows.requests import COMMAND

PAUSE_SECONDS = 0.02
"""Between two submissions, so that each finds the dispatcher at rest."""
LISTENER = "LISTEN/NOTIFY to claim"
BLOCK = 10
"""Submissions in a turn."""
FRAME_SECONDS = 30.0


class _Timed:
    """A connected agent that notes when frames come."""

    def __init__(self, bench: Bench, agent: Agent) -> None:
        self._bench = bench
        self._agent = agent
        self.connected = asyncio.Event()
        self.frame: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def live(self) -> None:
        """Stay connected, and complete what comes."""
        async with dial(self._bench.product, self._agent) as socket:
            self.connected.set()
            async for text in socket:
                at = time.perf_counter()
                ids, replies = answer_second(json.loads(text))
                for reply in replies:
                    await socket.send(reply)
                if ids and not self.frame.done():
                    self.frame.set_result(at)


async def latency(bench: Bench) -> list[Figure]:
    """Measure submissions one after another, in turns with LISTEN/NOTIFY."""
    [agent] = await bench.product.create_agents(1)
    operator = await bench.product.operator()
    path, body = f"/api/v1/agents/{agent.agent_id}/commands", json.dumps(COMMAND).encode()
    listener = await Listener.connect(bench.raw.url)
    timed = _Timed(bench, agent)
    ours: list[float] = []
    theirs: list[float] = []
    blocks = max(1, bench.sizes.submissions // BLOCK)

    async def submit() -> None:
        timed.frame = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        answer = operator.start("POST", path, body)
        ours.append(await asyncio.wait_for(timed.frame, FRAME_SECONDS) - began)
        expect_success(*await answer)

    async def notify() -> None:
        theirs.append(await listener.latency())

    async with background([timed.live()]):
        await timed.connected.wait()
        await bench.product.until_at_rest()
        with bench.bar("latency", blocks) as advance:
            for number in range(blocks):
                for measure in (submit, notify) if number % 2 == 0 else (notify, submit):
                    for _ in range(BLOCK):
                        await measure()
                        await asyncio.sleep(PAUSE_SECONDS)
                advance()
    await listener.close()
    operator.close()
    return [
        Figure(
            row="latency",
            what=f"request of a command → frame at a connected agent, p{percent}",
            unit="ms",
            value=Series(name="dispatcher", samples=(1000 * percentile(ours, percent),)),
            references=(Series(name=LISTENER, samples=(1000 * percentile(theirs, percent),)),),
            against=LISTENER,
            target=Target(of="ratio", at="most", limit=limit),
            notes=(f"{len(ours)} submissions",),
        )
        for percent, limit in ((50, 2.5), (99, 4))
    ]
