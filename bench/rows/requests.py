"""`http`, `intake`, `bulk`: one operator's requests."""

import contextlib
import json
import statistics
import time
from functools import partial

from bench import queues
from bench.context import Bench, Measure, blocking
from bench.figures import Figure, Target
from bench.http_connection import HttpConnection, expect_success
from bench.peers import PGQUEUER, PROCRASTINATE
from bench.product import PAYLOAD
from bench.raw_postgres import BULK

RAW_INSERT, RAW_BULK = "raw committed insert", "raw insert of unnest"
COMMAND = {"action": "noop", "payload": json.loads(PAYLOAD)}


async def http(bench: Bench) -> list[Figure]:
    """Measure the answers of `GET /healthz` on new and on kept connections."""
    url, requests = bench.product.url, bench.sizes.requests

    async def new() -> float:
        times: list[float] = []
        for _ in range(requests):
            began = time.perf_counter()
            connection = await HttpConnection.open(url)
            expect_success(*await connection.start("GET", "/healthz"))
            times.append(time.perf_counter() - began)
            connection.close()
        return 1000 * statistics.median(times)

    async def kept() -> float:
        connection = await HttpConnection.open(url)
        times: list[float] = []
        for _ in range(requests):
            began = time.perf_counter()
            expect_success(*await connection.start("GET", "/healthz"))
            times.append(time.perf_counter() - began)
        connection.close()
        return 1000 * statistics.median(times)

    on_kept, on_new = await bench.in_turns("http", {"kept connection": kept, "new connections": new})
    most = Target(of="value", at="most", limit=3)
    return [
        Figure(row="http", what="GET /healthz, p50, kept connection", unit="ms", value=on_kept, target=most),
        Figure(row="http", what="GET /healthz, p50, new connections", unit="ms", value=on_new, target=most),
    ]


async def intake(bench: Bench) -> list[Figure]:
    """Measure one client that submits one command after another to an offline agent."""
    seconds = bench.sizes.seconds
    [agent] = await bench.product.create_agents(1)
    path, body = f"/api/v1/agents/{agent.agent_id}/commands", json.dumps(COMMAND).encode()
    measures: dict[str, Measure] = {
        "dispatcher": lambda: _requests_a_second(bench, "intake", path, body),
        RAW_INSERT: blocking(lambda: bench.raw.insert(seconds)),
    }
    what, target = "submit, one client, one command a request", Target(of="ratio", at="least", limit=0.25)
    return [await _beside_queues(bench, "intake", what, measures=measures, against=RAW_INSERT, target=target, jobs=1)]


async def bulk(bench: Bench) -> list[Figure]:
    """Measure one client that submits a thousand commands a request to an offline agent."""
    seconds = bench.sizes.seconds
    [agent] = await bench.product.create_agents(1)
    body = json.dumps([COMMAND | {"agentId": agent.agent_id}] * BULK).encode()

    async def submit() -> float:
        return BULK * await _requests_a_second(bench, "bulk", "/api/v1/commands", body, commands=BULK)

    measures: dict[str, Measure] = {
        "dispatcher": submit,
        RAW_BULK: blocking(lambda: bench.raw.insert_many(seconds)),
    }
    what, target = f"submit, one client, {BULK:,} commands a request", Target(of="ratio", at="least", limit=0.5)
    return [await _beside_queues(bench, "bulk", what, measures=measures, against=RAW_BULK, target=target, jobs=BULK)]


async def _requests_a_second(bench: Bench, row: str, path: str, body: bytes, *, commands: int = 1) -> float:
    """Post the same body on a kept connection for some seconds; return requests a second."""
    operator = await bench.product.operator()
    try:
        with bench.profiled(row) as profile:
            began, times = time.perf_counter(), 0
            while time.perf_counter() - began < bench.sizes.seconds:
                expect_success(*await operator.start("POST", path, body))
                times += 1
                profile.commands += commands
            return times / (time.perf_counter() - began)
    finally:
        operator.close()


async def _beside_queues(
    bench: Bench, row: str, what: str, *, measures: dict[str, Measure], against: str, target: Target, jobs: int
) -> Figure:
    """Measure beside the job queues too, where they are installed; `jobs` is how many they enqueue a call."""
    with contextlib.ExitStack() as stack:
        enqueues: dict[str, queues.Enqueue] = {}
        if not PGQUEUER.missing:
            enqueues[PGQUEUER.name] = await queues.pgqueuer(bench.raw)
        if not PROCRASTINATE.missing:
            enqueues[PROCRASTINATE.name] = stack.enter_context(queues.procrastinate(bench.raw))
        for name, enqueue in enqueues.items():
            measures[name] = blocking(partial(enqueue, jobs, bench.sizes.seconds))
        missing = [peer.missing for peer in (PGQUEUER, PROCRASTINATE) if peer.missing]
        return await bench.compare(row, what, measures, against=against, target=target, missing=missing)
