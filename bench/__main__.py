"""`make bench`: the cost of the dispatcher's statements beside the raw database, in one run on one machine.

Absolute figures depend on the machine; the ratios count.  fsync is on, as in `make up`.
"""

import argparse
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from dispatcher.access.roles import Operator, Role
from dispatcher.commands import submission
from dispatcher.commands.delivery import deliver
from dispatcher.commands.submission import NewCommand
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.migrations import migrate
from dispatcher.protocol.handshake import DeliveryMode
from local.postgres import server as postgres
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, create_agent, receive

OFFLINE_AGENTS = 1000
"""Offline agents that share the backlog."""
ROUNDS = 15
MOST = 1.1
"""How many times slower a backlog for others may make delivery or a sweep."""
OPERATOR = Operator(username="bench", role=Role.SENDER)
ACCEPTED, DRAINED = 100, 2000


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement, beside the one that it is compared with."""

    what: str
    per_second: float
    against: str = ""
    ratio: float = 1.0
    most: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the ratio is within its limit."""
        return self.most is None or self.ratio <= self.most

    def row(self) -> tuple[str, ...]:
        """Return the figure as a row of the table."""
        verdict = "" if self.most is None else f"{self.most} " + ("[green]✓" if self.holds else "[red]✗")
        return self.what, f"{self.per_second:,.0f}", f"{self.ratio:.2f}" if self.against else "", self.against, verdict


def main() -> int:
    """Measure and print; return 1 if a ratio exceeds its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backlog", type=int, default=1_000_000, help="pending commands for offline agents")
    backlog: int = parser.parse_args().backlog
    logging.disable(logging.INFO)
    console = Console(highlight=False)
    with (
        tempfile.TemporaryDirectory() as folder,
        postgres.running(Path(folder)) as server,
        open_connection(server.url) as empty,
    ):
        empty.execute("create database full_of_others")
        with open_connection(server.url.rpartition("/")[0] + "/full_of_others") as full:
            for conn in (empty, full):
                migrate(conn)
                create_agent(conn, "here")
                connect(conn, "here", "c", mode=DeliveryMode.BATCHING, window=100)
            with console.status(f"Adding {backlog:,} pending commands for offline agents …"):
                _add_backlog(full, backlog)
            for conn in (empty, full):
                _drain(conn)
                _sweep(conn)
                # Autovacuum does this in time.
                conn.execute("vacuum analyze")
            raw, accept, accept_ratio = _alternately(
                track(range(ROUNDS), "accept ", console=console), lambda: _raw(empty), lambda: _accept(empty)
            )
            drain, drain_full, drain_ratio = _alternately(
                track(range(ROUNDS), "deliver", console=console), lambda: _drain(empty), lambda: _drain(full)
            )
            swept, swept_full, swept_ratio = _alternately(
                track(range(20 * ROUNDS), "sweep  ", console=console), lambda: _sweep(empty), lambda: _sweep(full)
            )
    others = f"the same with {backlog:,} pending for others"
    figures = [
        Figure("insert a bare row, one a transaction", ACCEPTED / raw),
        Figure("accept a command, one a transaction", ACCEPTED / accept, "a bare row", accept_ratio),
        Figure("deliver and settle, 100 a message", DRAINED / drain),
        Figure(others, DRAINED / drain_full, "without", drain_ratio, MOST),
        Figure("sweep with one command due", 1 / swept),
        Figure(others, 1 / swept_full, "without", swept_ratio, MOST),
    ]
    columns = ("what", "a second", "times slower", "than", "at most")
    table = Table(*columns, box=None, padding=(0, 3, 0, 0), header_style="dim")
    for figure in figures:
        table.add_row(*figure.row())
    console.print(table)
    return 0 if all(figure.holds for figure in figures) else 1


def _raw(conn: Connection) -> float:
    """Insert rows of the same content into a bare table; seconds."""
    conn.execute("create table if not exists raw (id text primary key default gen_random_uuid()::text, body jsonb)")
    body = '{"text": "' + "x" * 100 + '"}'
    return _timed(lambda: [conn.execute("insert into raw (body) values (%s)", (body,)) for _ in range(ACCEPTED)])


def _accept(conn: Connection) -> float:
    """Accept one command after another, each committed; seconds."""
    command = NewCommand(agent_id="here", action="noop", payload={"text": "x" * 100})
    seconds = _timed(lambda: [submission.submit(conn, [command], OPERATOR) for _ in range(ACCEPTED)])
    conn.execute("delete from agent_commands where agent_id = 'here'")
    return seconds


def _drain(conn: Connection) -> float:
    """Deliver to one agent that completes everything in one message of reports; seconds."""
    conn.execute(
        "insert into agent_commands (agent_id, action, payload)"
        " select 'here', 'noop', '{\"text\": \"x\"}' from generate_series(1, %s)",
        (DRAINED,),
    )
    gateway = FakeGateway()

    def drain() -> None:
        while True:
            deliver(conn, gateway, "here", plenty)
            if not gateway.frames:
                break
            for _, frame in gateway.frames:
                reports = frame.replace('"type": "commands", "commands"', '"type": "reports", "reports"')
                receive(conn, "here", "c", reports.replace('{"action"', '{"kind": "complete", "action"'))
            gateway.frames.clear()

    seconds = _timed(drain)
    conn.execute("delete from agent_commands where agent_id = 'here'")
    return seconds


def _sweep(conn: Connection) -> float:
    """Sweep with one command due; seconds."""
    conn.execute("insert into agent_commands (agent_id, action) values ('here', 'noop')")
    seconds = _timed(lambda: sweep(conn, FakeGateway(), deadline=plenty))
    conn.execute("delete from agent_commands where agent_id = 'here'")
    return seconds


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _add_backlog(conn: Connection, rows: int) -> None:
    conn.execute("set statement_timeout = 0")
    conn.execute(
        "insert into agents (agent_id, platform) select 'offline-' || n, 'x' from generate_series(1, %s) n",
        (OFFLINE_AGENTS,),
    )
    conn.execute(
        "insert into agent_commands (agent_id, action, payload, deliver_by)"
        " select 'offline-' || n %% %s, 'noop', '{\"text\": \"x\"}', now() + interval '1 day' from generate_series(1, %s) n",
        (OFFLINE_AGENTS, rows),
    )


def _alternately(
    rounds: Iterable[object], one: Callable[[], float], other: Callable[[], float]
) -> tuple[float, float, float]:
    """Measure two things in turns, so that a change of the machine's speed affects both.

    Return the median seconds of each, and the median of how many times slower the other was in the same turn.
    """
    pairs: list[tuple[float, float]] = []
    for _ in rounds:
        # Each goes first as often as the other, because the second one finds warm caches.
        before = other() if len(pairs) % 2 else None
        pairs.append((one(), other() if before is None else before))
    return (
        statistics.median(pair[0] for pair in pairs),
        statistics.median(pair[1] for pair in pairs),
        statistics.median(pair[1] / pair[0] for pair in pairs),
    )


if __name__ == "__main__":
    sys.exit(main())
