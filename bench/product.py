"""The product under measurement: `python -m local.up` on a temporary home, used only from outside."""

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psutil
import psycopg

from bench.figures import BenchError
from bench.http_connection import HttpConnection
from local import home as homes

ROOT = Path(__file__).parents[1]
START_SECONDS, END_SECONDS = 120.0, 60.0
TOKEN_SECONDS = 300.0
AT_ONCE = 8
"""Agents that are created at the same time."""
REST_SECONDS, MOMENT_SECONDS = 60.0, 0.25
AT_REST = 0.1
"""The share of one core that a dispatcher at rest may use."""
SETTLED_SECONDS, POLL_SECONDS = 900.0, 0.02
PAYLOAD = '{"text": "' + "x" * 100 + '"}'
"""The payload of every command of the bench."""
WITHOUT_LIMITS = {"DISPATCHER_QUEUE_LIMIT": "100000000", "DISPATCHER_OPERATOR_RATE": "0", "DISPATCHER_AGENT_RATE": "0"}
_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent that the product knows."""

    agent_id: str
    api_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A running dispatcher."""

    process: subprocess.Popen[bytes]
    url: str
    database_url: str
    password: str
    tokens: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """The moments and the tokens of the log-ins so far."""

    def database(self) -> psycopg.Connection:
        """Connect to its database, as psql does."""
        return psycopg.connect(self.database_url, autocommit=True)

    async def operator(self) -> HttpConnection:
        """Return a kept connection of the admin."""
        return await HttpConnection.open(self.url, await self.log_in())

    async def log_in(self) -> str:
        """Return a token of the admin that was made in the last TOKEN_SECONDS; passwords are slow to check."""
        if self.tokens and time.monotonic() - self.tokens[-1][0] < TOKEN_SECONDS:
            return self.tokens[-1][1]
        connection = await HttpConnection.open(self.url)
        body = {"username": "admin", "password": self.password}
        token: str = (await connection.call("POST", "/api/v1/auth/login", body))["token"]
        connection.close()
        self.tokens.append((time.monotonic(), token))
        return token

    async def create_agents(self, number: int) -> list[Agent]:
        """Create agents with new ids."""
        ids = [f"bench-{next(_numbers)}" for _ in range(number)]
        await self.log_in()
        shares = [ids[start::AT_ONCE] for start in range(min(AT_ONCE, number))]
        created = await asyncio.gather(*(self._create(share) for share in shares))
        return [agent for share in created for agent in share]

    async def _create(self, ids: Sequence[str]) -> list[Agent]:
        operator = await self.operator()
        try:
            answers = [
                await operator.call("POST", "/api/v1/agents", {"agentId": each, "platform": "kubernetes"})
                for each in ids
            ]
        finally:
            operator.close()
        return [Agent(agent_id=each["agentId"], api_key=each["apiKey"]) for each in answers]

    def queue(self, agents: Sequence[Agent], each: int) -> None:
        """Insert pending commands for agents with plain SQL, in turns."""
        with self.database() as conn:
            conn.execute(
                "insert into agent_commands (agent_id, action, payload)"
                " select agent_id, 'noop', %s::jsonb from generate_series(1, %s) n, unnest(%s::text[]) agent_id order by n",
                (PAYLOAD, each, [agent.agent_id for agent in agents]),
            )

    async def until_ended(self, conn: psycopg.Connection, agents: Sequence[Agent]) -> None:
        """Return when no command of these agents waits or is under way; raises BenchError if it takes too long.

        Both are read from small indexes: counting what is completed would read all that others have in the table.
        """
        deadline = time.monotonic() + SETTLED_SECONDS
        ids = [agent.agent_id for agent in agents]
        while await asyncio.to_thread(_are_open, conn, ids):
            if time.monotonic() > deadline:
                raise BenchError(f"commands were still open after {SETTLED_SECONDS:.0f} s")
            await asyncio.sleep(POLL_SECONDS)

    def expect_completed(self, conn: psycopg.Connection, agents: Sequence[Agent], expected: int) -> None:
        """Raise BenchError unless so many commands of these agents are completed."""
        row = conn.execute(
            "select count(*) from agent_commands where agent_id = any(%s) and status = 'completed'",
            ([agent.agent_id for agent in agents],),
        ).fetchone()
        if row is None or row[0] != expected:
            raise BenchError(f"only {row and row[0]} of {expected} commands were completed")

    async def until_at_rest(self) -> None:
        """Return when its processes have hardly used the processor for a moment, or after REST_SECONDS."""
        deadline = time.monotonic() + REST_SECONDS
        used = sum(self.processor_seconds().values())
        while time.monotonic() < deadline:
            await asyncio.sleep(MOMENT_SECONDS)
            before, used = used, sum(self.processor_seconds().values())
            if used - before < MOMENT_SECONDS * AT_REST:
                return

    def processor_seconds(self) -> dict[str, float]:
        """Return the processor time of its processes so far, by place: PostgreSQL, the gateway, the functions.

        A process that has ended counts with the one that started it.
        """
        places = {"PostgreSQL": 0.0, "gateway": 0.0, "functions": 0.0}
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                own = "gateway" if process.pid == self.process.pid else "functions"
                place = "PostgreSQL" if process.name() == "postgres" else own
                places[place] += times.user + times.system + times.children_user + times.children_system
        return places

    def processes(self) -> list[psutil.Process]:
        """Return its processes, PostgreSQL's too."""
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]


@contextlib.contextmanager
def running(home: Path) -> Generator[Product]:
    """Run `python -m local.up` on a home and a free port; raises BenchError if it does not start."""
    password = secrets.token_urlsafe(16)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DISPATCHER_")}
    own = {"DISPATCHER_HOME": str(home), "DISPATCHER_PORT": "0", "DISPATCHER_ADMIN_PASSWORD": password}
    output = home.with_suffix(".output")
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.up"],
            cwd=ROOT,
            env={**inherited, **own, **WITHOUT_LIMITS, "PYTHONPATH": f"{ROOT}:{ROOT / 'layers/dispatcher'}"},
            stdout=sink,
            stderr=sink,
            start_new_session=True,  # Ctrl-C ends the bench, and the bench ends this process
        )
    try:
        settings = _settings(process, home / "env", output)
        yield Product(
            process=process, url=settings["DISPATCHER_URL"], database_url=settings["DATABASE_URL"], password=password
        )
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _settings(process: subprocess.Popen[bytes], env: Path, output: Path) -> dict[str, str]:
    """Wait until the dispatcher serves; return the variables in its file `env`."""
    deadline = time.monotonic() + START_SECONDS
    while not env.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"`make up` did not start:\n{output.read_text(errors='replace')[-2000:]}")
        time.sleep(POLL_SECONDS)
    return homes.variables(env.parent)


def _are_open(conn: psycopg.Connection, agent_ids: Sequence[str]) -> bool:
    row = conn.execute(
        "select exists (select from agent_commands where agent_id = any(%(ids)s) and status = 'pending')"
        " or exists (select from agent_commands where agent_id = any(%(ids)s) and status in ('sent', 'acknowledged'))",
        {"ids": list(agent_ids)},
    ).fetchone()
    return row is not None and row[0]
