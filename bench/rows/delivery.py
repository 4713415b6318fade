"""`flush`, `fanout`, `first`: waiting commands that reach agents when they connect."""

import asyncio
import contextlib
import json
import time
from functools import partial
from typing import Any

from websockets.asyncio.client import connect

from bench import bare_websockets, jetstream, mosquitto, same_rows
from bench.agents import WINDOW, answer_second, drain
from bench.context import Bench, Measure, blocking
from bench.figures import Figure, Target
from bench.peers import MOSQUITTO, NATS

BROKER, RAW = "Mosquitto, QoS 1", "raw claim and complete"


async def flush(bench: Bench) -> list[Figure]:
    """Measure one agent that connects, with many commands waiting."""
    number = bench.sizes.flushed
    what = f"1 agent × {number:,}, protocol 2, until all are completed"
    target = Target(of="ratio", at="least", limit=0.5)
    return [await _beside_brokers(bench, "flush", what, agents=1, each=number, target=target)]


async def fanout(bench: Bench) -> list[Figure]:
    """Measure many agents that connect at once, each with some commands waiting."""
    agents, each = bench.sizes.fan_agents, bench.sizes.fan_each
    what = f"{agents} agents × {each}, protocol 2, connects included"
    target = Target(of="ratio", at="least", limit=0.6)
    return [await _beside_brokers(bench, "fanout", what, agents=agents, each=each, target=target)]


async def first(bench: Bench) -> list[Figure]:
    """Measure agents of the first protocol: one command a message, acknowledged, then completed."""
    agents, each = bench.sizes.fan_agents, bench.sizes.fan_each
    measures: dict[str, Measure] = {
        "dispatcher": lambda: _drained(bench, "first", agents, each, protocol=1),
        RAW: blocking(lambda: bench.raw.drain(agents, each)),
        same_rows.NAME: lambda: _same_rows(bench, agents, each, window=1, acks_alone=True),
    }
    what = f"{agents} agents × {each}, first protocol, one command a message"
    target = Target(of="ratio", at="least", limit=0.7)
    rounds = bench.sizes.first_rounds
    return [await bench.compare("first", what, measures, against=RAW, target=target, rounds=rounds)]


async def _drained(bench: Bench, row: str, agents: int, each: int, *, protocol: int) -> float:
    """Queue commands for new agents; return commands a second from the connects until all are completed."""
    created = await bench.product.create_agents(agents)
    bench.product.queue(created, each)
    await bench.product.until_at_rest()  # or the end of the session that queued would count as the dispatcher's time
    with bench.profiled(row) as profile:
        profile.commands += agents * each
        seconds = await drain(bench.product, created, each, protocol=protocol)
    return agents * each / seconds


async def _same_rows(bench: Bench, agents: int, each: int, *, window: int, acks_alone: bool) -> float:
    """Write what a delivery writes, and nothing else; return commands a second."""
    created = await bench.product.create_agents(agents)
    bench.product.queue(created, each)
    await bench.product.until_at_rest()
    drained = partial(same_rows.drain, bench.product, created, each, window=window, acks_alone=acks_alone)
    return await asyncio.to_thread(drained)


async def _beside_brokers(bench: Bench, row: str, what: str, *, agents: int, each: int, target: Target) -> Figure:
    """Measure beside brokers that keep messages for clients that are offline, and beside bare sockets."""
    with contextlib.ExitStack() as stack:
        measures: dict[str, Measure] = {"dispatcher": lambda: _drained(bench, row, agents, each, protocol=2)}
        if agents == 1:
            measures[same_rows.NAME] = lambda: _same_rows(bench, 1, each, window=WINDOW, acks_alone=False)
        if not MOSQUITTO.missing:
            broker = stack.enter_context(mosquitto.running(bench.folder / f"mosquitto-{row}"))
            measures[BROKER] = blocking(lambda: broker.flush(agents, each))
        if agents == 1 and not NATS.missing:
            server = stack.enter_context(jetstream.running(bench.folder / f"nats-{row}"))
            measures["NATS JetStream, pull"] = lambda: server.flush(each)
        url = stack.enter_context(bare_websockets.running(bench.folder / f"websockets-{row}"))
        measures["bare websockets"] = lambda: _bare(url, agents, each)
        peers = (MOSQUITTO, NATS) if agents == 1 else (MOSQUITTO,)
        missing = [peer.missing for peer in peers if peer.missing]
        return await bench.compare(row, what, measures, against=BROKER, target=target, missing=missing)


async def _bare(url: str, agents: int, each: int) -> float:
    """Get as many commands from bare sockets, and report them; return commands a second, connects included."""

    async def agent() -> None:
        async with connect(f"{url}?count={each}", compression=None, proxy=None, max_size=None) as socket:
            async for text in socket:
                message: dict[str, Any] = json.loads(text)
                for reply in answer_second(message)[1]:
                    await socket.send(reply)

    began = time.perf_counter()
    await asyncio.gather(*(agent() for _ in range(agents)))
    return agents * each / (time.perf_counter() - began)
