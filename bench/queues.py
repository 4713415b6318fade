"""Job queues on PostgreSQL: what it costs them to accept work, on the product's own server."""

import contextlib
import json
from collections.abc import Callable, Generator
from typing import Any

import psycopg

from bench.peers import PGQUEUER, PROCRASTINATE
from bench.product import PAYLOAD
from bench.raw_postgres import BULK, RawPostgres, per_second

Enqueue = Callable[[int, float], float]
"""Enqueues that many jobs a call, for some seconds; returns jobs a second."""


async def pgqueuer(raw: RawPostgres) -> Enqueue:
    """Install pgqueuer's tables, and return how it enqueues."""
    package: Any = PGQUEUER.client
    async with await psycopg.AsyncConnection.connect(raw.url, autocommit=True) as conn:
        driver = package.db.PsycopgDriver(conn)
        if not await package.queries.Queries(driver).has_table("pgqueuer"):
            await package.queries.Queries(driver).install()
    queries = package.queries.SyncQueries(package.db.SyncPsycopgDriver(raw.conn))
    body = PAYLOAD.encode()

    def enqueue(number: int, seconds: float) -> float:
        if number == 1:
            return per_second(lambda: queries.enqueue("noop", body), seconds)
        given = (["noop"] * number, [body] * number, [0] * number)
        return number * per_second(lambda: queries.enqueue(*given), seconds)

    return enqueue


@contextlib.contextmanager
def procrastinate(raw: RawPostgres) -> Generator[Enqueue]:
    """Install procrastinate's tables, and yield how it defers."""
    package: Any = PROCRASTINATE.client
    app = package.App(connector=package.SyncPsycopgConnector(conninfo=raw.url, min_size=1, max_size=1))
    body = json.loads(PAYLOAD)
    with app.open():
        if raw.conn.execute("select to_regclass('procrastinate_jobs') is null").fetchone() == (True,):
            app.schema_manager.apply_schema()
        deferrer = app.configure_task("noop")

        def enqueue(number: int, seconds: float) -> float:
            if number == 1:
                return per_second(lambda: deferrer.defer(**body), seconds)
            jobs = [body] * BULK
            return number * per_second(lambda: deferrer.batch_defer(*jobs), seconds)

        yield enqueue
