"""Bare tables and psycopg, on the product's own PostgreSQL server: the same disk, settings and durability."""

import asyncio
import time
from collections.abc import Callable

import psycopg
from psycopg.conninfo import make_conninfo

from bench.product import PAYLOAD, Product

DATABASE = "bench"
BULK = 1000
SCHEMA = """
create table commands (
    command_id text primary key default 'cmd-' || replace(gen_random_uuid()::text, '-', ''),
    agent_id   text not null,
    action     text not null,
    payload    jsonb,
    status     text not null default 'pending',
    created_at timestamptz not null default now(),
    seq        bigint not null generated always as identity
);
create index commands_due on commands (agent_id, seq) where status = 'pending';
"""
INSERT = "insert into commands (agent_id, action, payload) values (%s, 'noop', %s)"
INSERT_AND_NOTIFY = """
with inserted as (insert into commands (agent_id, action, payload) values (%s, 'noop', %s) returning 1)
select pg_notify('commands', '') from inserted
"""
INSERT_MANY = """
insert into commands (agent_id, action, payload)
select agent_id, 'noop', payload::jsonb from unnest(%s::text[], %s::text[]) as given (agent_id, payload)
"""
CLAIM = """
update commands set status = 'sent'
where command_id = (
    select command_id from commands
    where agent_id = %s and status = 'pending'
    order by seq limit 1 for update skip locked)
returning command_id
"""
COMPLETE = "update commands set status = 'completed' where command_id = %s"


class RawPostgres:
    """A database with one table, and one connection that commits every statement."""

    def __init__(self, conn: psycopg.Connection, url: str) -> None:
        self.conn = conn
        self.url = url

    @classmethod
    def create(cls, product: Product) -> "RawPostgres":
        """Create the database on the product's server."""
        with product.database() as conn:
            conn.execute(f"create database {DATABASE}")
        url = make_conninfo(product.database_url, dbname=DATABASE)
        conn = psycopg.connect(url, autocommit=True)
        conn.execute(SCHEMA)
        return cls(conn, url)

    def insert(self, seconds: float) -> float:
        """Insert one row after another; rows a second."""
        return per_second(lambda: self.conn.execute(INSERT, ("offline", PAYLOAD)), seconds)

    def insert_many(self, seconds: float) -> float:
        """Insert a thousand rows a statement; rows a second."""
        given = (["offline"] * BULK, [PAYLOAD] * BULK)
        return BULK * per_second(lambda: self.conn.execute(INSERT_MANY, given), seconds)

    def drain(self, agents: int, each: int) -> float:
        """Claim one command and complete it, agent after agent, each statement committed; commands a second."""
        names = [f"agent-{number}" for number in range(agents)]
        self.conn.execute("truncate commands")
        for _ in range(each):
            self.conn.execute(INSERT_MANY, (names, [PAYLOAD] * agents))
        began = time.perf_counter()
        for _ in range(each):
            for name in names:
                claimed = self.conn.execute(CLAIM, (name,)).fetchone()
                self.conn.execute(COMPLETE, claimed)
        return agents * each / (time.perf_counter() - began)


class Listener:
    """A worker that waits for NOTIFY and claims one command then; it is woken by the connection that inserts."""

    def __init__(self, inserting: psycopg.AsyncConnection, working: psycopg.AsyncConnection) -> None:
        self._inserting = inserting
        self._working = working

    @classmethod
    async def connect(cls, url: str) -> "Listener":
        """Open both connections, and listen."""
        inserting = await psycopg.AsyncConnection.connect(url, autocommit=True)
        working = await psycopg.AsyncConnection.connect(url, autocommit=True)
        await working.execute("listen commands")
        return cls(inserting, working)

    async def latency(self) -> float:
        """Insert and notify in one statement; return the seconds until the worker has claimed the command."""
        waiting = asyncio.create_task(self._claim())
        await asyncio.sleep(0)  # the worker waits on its socket from here on
        began = time.perf_counter()
        await self._inserting.execute(INSERT_AND_NOTIFY, ("listener", PAYLOAD))
        return await waiting - began

    async def _claim(self) -> float:
        async for _ in self._working.notifies(stop_after=1):
            pass
        claimed = await (await self._working.execute(CLAIM, ("listener",))).fetchone()
        at = time.perf_counter()
        await self._working.execute(COMPLETE, claimed)
        return at

    async def close(self) -> None:
        """Close both connections."""
        await self._inserting.close()
        await self._working.close()


def per_second(work: Callable[[], object], seconds: float) -> float:
    """Repeat something for some seconds; return how often a second."""
    began, times = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        work()
        times += 1
    return times / (time.perf_counter() - began)
