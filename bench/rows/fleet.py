"""`storm`, `idle`, `memory`: many connected agents.  The fleet of one row stays connected for the next."""

import asyncio
import re
import time
from collections import Counter
from pathlib import Path

import psutil
import psycopg
from psycopg.conninfo import make_conninfo
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from bench import bare_websockets
from bench.agents import HEARTBEAT, dial
from bench.context import Bench
from bench.figures import BenchError, Figure, Series, Target
from bench.product import Agent
from dispatcher.platform.settings import heartbeat_seconds

GENTLY = 25
"""Handshakes at a time where the storm itself is not measured."""
TRIES = 5
BARE = "bare websockets"
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


async def storm(bench: Bench) -> list[Figure]:
    """Measure agents that all connect at once."""
    agents = await _fleet(bench)
    rates: list[float] = []
    failures: list[float] = []
    kinds: Counter[str] = Counter()
    bare: list[float] = []

    async def of_agents() -> None:
        began = time.perf_counter()
        outcomes = await asyncio.gather(*(_handshake(bench, agent) for agent in agents))
        seconds = time.perf_counter() - began
        bench.sockets = [each for each in outcomes if not isinstance(each, str)]
        failed = [each for each in outcomes if isinstance(each, str)]
        kinds.update(failed)
        rates.append(len(bench.sockets) / seconds)
        failures.append(len(failed))

    async def of_bare_clients() -> None:
        bare.append(await _bare_storm(url, len(agents)))

    folder = bench.folder / "websockets-storm"
    with bare_websockets.running(folder) as url, bench.bar("storm", bench.sizes.storms) as advance:
        for turn in range(bench.sizes.storms):
            for measure in (of_agents, of_bare_clients) if turn % 2 == 0 else (of_bare_clients, of_agents):
                await bench.disconnect_fleet()
                await bench.product.until_at_rest()
                await measure()
            advance()
    number = f"{len(agents):,} agents connect at once"
    return [
        Figure(
            row="storm",
            what=f"{number}, served",
            unit="agents/s",
            value=Series(name="dispatcher", samples=tuple(rates)),
            references=(Series(name=BARE, samples=tuple(bare)),),
            against=BARE,
            target=Target(of="value", at="least", limit=300),
        ),
        Figure(
            row="storm",
            what=f"{number}, 5xx or refused",
            unit="agents",
            value=Series(name="dispatcher", samples=tuple(failures)),
            target=Target(of="value", at="most", limit=0),
            notes=tuple(f"{times} × {kind}" for kind, times in kinds.most_common()),
        ),
    ]


async def idle(bench: Bench) -> list[Figure]:
    """Measure the transactions of a dispatcher whose agents are connected and silent."""
    await _connected(bench)
    sizes = bench.sizes
    url = make_conninfo(bench.product.database_url, dbname="postgres")
    with psycopg.connect(url, autocommit=True) as conn, bench.bar("idle", 3) as advance:
        with bench.product.database() as own:
            own.execute("vacuum analyze")  # or autovacuum cleans up after the rows before while this one is measured
        await bench.product.until_at_rest()
        await asyncio.sleep(sizes.settle_seconds)
        before = _transactions(conn)
        # Heartbeats first: the agents are then fresh for the silence that is measured.
        await asyncio.gather(*(socket.send(HEARTBEAT) for socket in bench.sockets))
        advance()
        await asyncio.sleep(2 * sizes.settle_seconds)
        began, first = time.perf_counter(), _transactions(conn)
        advance()
        await asyncio.sleep(sizes.idle_seconds)
        rate = (_transactions(conn) - first) / (time.perf_counter() - began)
        advance()
    number = len(bench.sockets)
    a_heartbeat, period = (first - before) / number, heartbeat_seconds()
    return [
        Figure(
            row="idle",
            what=f"{number:,} silent agents, database transactions",
            unit="transactions/s",
            value=Series(name="dispatcher", samples=(rate,)),
            target=Target(of="value", at="most", limit=0.5),
            notes=(f"over {sizes.idle_seconds:.0f} s, from pg_stat_database; heartbeats apart",),
        ),
        Figure(
            row="idle",
            what="database transactions for a heartbeat",
            unit="transactions",
            value=Series(name="dispatcher", samples=(a_heartbeat,)),
            notes=(f"with one from each agent every {period} s: {number * a_heartbeat / period:.0f}/s",),
        ),
    ]


async def memory(bench: Bench) -> list[Figure]:
    """Measure the memory of all processes of `make up` while the agents are connected."""
    await _connected(bench)
    with bench.bar("memory", 1) as advance:
        sizes: list[tuple[str, float]] = []
        for process in bench.product.processes():
            name, size = _pss(process)
            sizes.append((name, size))
        advance()
    parts: Counter[str] = Counter()
    for name, size in sizes:
        parts[name] += round(size)
    return [
        Figure(
            row="memory",
            what=f"PSS of `make up`, {len(bench.sockets):,} agents connected",
            unit="MB",
            value=Series(name="dispatcher", samples=(sum(size for _, size in sizes),)),
            target=Target(of="value", at="most", limit=400),
            notes=(f"{len(sizes)} processes", *(f"{name}: {size} MB" for name, size in parts.most_common(4))),
        )
    ]


async def _fleet(bench: Bench) -> list[Agent]:
    if not bench.fleet:
        bench.fleet = await bench.product.create_agents(bench.sizes.fleet)
    return bench.fleet


async def _handshake(bench: Bench, agent: Agent) -> ClientConnection | str:
    """Connect once; return the connection, or in a few words why there is none."""
    try:
        return await dial(bench.product, agent)
    except InvalidStatus as refused:
        return str(refused.response.status_code)
    except (OSError, TimeoutError, WebSocketException) as error:
        return type(error).__name__


async def _bare_storm(url: str, number: int) -> float:
    """Connect as many clients at once to bare sockets; return connects a second."""
    began = time.perf_counter()
    opened = await asyncio.gather(
        *(connect(url, compression=None, proxy=None, ping_interval=None, open_timeout=60) for _ in range(number))
    )
    seconds = time.perf_counter() - began
    await asyncio.gather(*(socket.close() for socket in opened))
    return number / seconds


async def _connected(bench: Bench) -> None:
    """Connect the whole fleet gently, unless it is connected; raises BenchError if an agent is refused again and again."""
    agents = await _fleet(bench)
    if len(bench.sockets) == len(agents):
        return
    await bench.disconnect_fleet()
    turn = asyncio.Semaphore(GENTLY)

    async def admit(agent: Agent) -> ClientConnection:
        outcome: ClientConnection | str = ""
        for _ in range(TRIES):
            async with turn:
                outcome = await _handshake(bench, agent)
            if not isinstance(outcome, str):
                return outcome
        raise BenchError(f"an agent could not connect in {TRIES} tries: {outcome}")

    bench.sockets = await asyncio.gather(*map(admit, agents))


def _transactions(conn: psycopg.Connection) -> int:
    """Count the transactions of the product's database since it exists; this connection is to another one."""
    counts = conn.execute(
        "select xact_commit + xact_rollback from pg_stat_database where datname = 'dispatcher'"
    ).fetchone()
    if counts is None:
        raise BenchError("PostgreSQL does not count the transactions of the database `dispatcher`")
    return int(counts[0])


def _pss(process: psutil.Process) -> tuple[str, float]:
    """Return the name of a process and its share of memory in MB; nothing for one that has ended."""
    try:
        name: str = process.name()
        found = _PSS.search(Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii"))
    except (psutil.NoSuchProcess, ProcessLookupError):
        return "ended", 0.0
    except OSError as error:
        raise BenchError(f"the memory of process {process.pid} cannot be read: {error}") from error
    return name, int(found[1]) / 1000 if found else 0.0
