"""`backlog`: two dispatchers, one with many commands that wait for other agents."""

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

from bench.agents import drain
from bench.context import Bench, Measure, blocking
from bench.figures import Figure, Target
from bench.http_connection import expect_success
from bench.product import PAYLOAD, Product
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import open_connection
from tests.fakes import FakeGateway, plenty

if TYPE_CHECKING:
    from collections.abc import Callable

OFFLINE_AGENTS = 1000
CHUNK = 50_000
LISTS, SWEEPS = 20, 15
MOST = Target(of="ratio", at="most", limit=1.1)


async def backlog(bench: Bench) -> list[Figure]:
    """Measure claims, sweeps and lists with and without commands that wait for other agents."""
    await bench.disconnect_fleet()
    empty, full = bench.second_product("empty"), bench.second_product("full")
    _fill(bench, full)
    each = bench.sizes.backlog_drained
    measured: dict[str, Callable[[Product], Measure]] = {
        f"drain {each:,} commands of one agent": lambda product: partial(_drained, product, each),
        "sweep with nothing due": lambda product: blocking(partial(_swept, product)),
        "first page of GET /api/v1/commands, 50 commands": lambda product: partial(_listed, product),
    }
    return [
        await bench.compare(
            "backlog",
            f"{what}, {bench.sizes.backlog:,} pending for others",
            {"with": measure(full), "without": measure(empty)},
            against="without",
            target=MOST,
            rounds=bench.sizes.backlog_rounds,
            unit="ms",
        )
        for what, measure in measured.items()
    ]


def _fill(bench: Bench, product: Product) -> None:
    """Insert the backlog of offline agents with plain SQL."""
    chunks = [min(CHUNK, bench.sizes.backlog - start) for start in range(0, bench.sizes.backlog, CHUNK)]
    with product.database() as conn, bench.bar("backlog, insert", len(chunks)) as advance:
        for chunk in chunks:
            conn.execute(
                "insert into agent_commands (agent_id, action, payload)"
                " select 'offline-' || n %% %s, 'noop', %s::jsonb from generate_series(1, %s) n",
                (OFFLINE_AGENTS, PAYLOAD, chunk),
            )
            advance()
        conn.execute("vacuum analyze")  # autovacuum does this in time


async def _drained(product: Product, each: int) -> float:
    """Return the milliseconds from an agent's connect until its commands are completed."""
    agents = await product.create_agents(1)
    product.queue(agents, each)
    return 1000 * await drain(product, agents, each)


def _swept(product: Product) -> float:
    """Return the median milliseconds of some sweeps, called as the function calls them."""
    times: list[float] = []
    with open_connection(product.database_url) as conn:
        for _ in range(SWEEPS):
            began = time.perf_counter()
            sweep(conn, FakeGateway(), deadline=plenty)
            times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


async def _listed(product: Product) -> float:
    """Return the median milliseconds of a list's first page over HTTP."""
    operator = await product.operator()
    times: list[float] = []
    for _ in range(LISTS):
        began = time.perf_counter()
        expect_success(*await operator.start("GET", "/api/v1/commands?limit=50"))
        times.append(1000 * (time.perf_counter() - began))
    operator.close()
    return statistics.median(times)
