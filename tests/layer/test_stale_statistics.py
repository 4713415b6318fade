"""An outage puts a backlog into the table before anyone has analyzed it: the planner still believes that nothing is pending."""

from collections.abc import Callable

import pytest

from dispatcher.database import Connection
from dispatcher.delivery import deliver
from dispatcher.model import Status
from dispatcher.store import clocks, commands, delivery
from dispatcher.sweep import sweep
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put

BACKLOG = 30_000


@pytest.fixture
def backlog(conn: Connection) -> Connection:
    """A table that was analyzed when everything had ended, and filled up since."""
    conn.execute("alter table agent_commands set (autovacuum_enabled = off)")
    conn.execute(
        """insert into agent_commands (agent_id, action, status, completed_at)
           select 'away-' || n % 10, 'noop', 'completed', now() from generate_series(1, 2000) n"""
    )
    conn.execute("vacuum analyze agent_commands")
    conn.execute(
        "insert into agents (agent_id, platform) select 'away-' || n, 'kubernetes' from generate_series(0, 9) n"
    )
    conn.execute(
        """insert into agent_commands (agent_id, action, deliver_by)
           select 'away-' || n %% 10, 'noop', now() + interval '1 day' from generate_series(1, %s) n""",
        (BACKLOG,),
    )
    provide(conn)
    connect(conn)
    put(conn, "k1")
    return conn


WORK: dict[str, Callable[[Connection], object]] = {
    "expire": lambda conn: clocks.expire(conn, 1000),
    "time out": lambda conn: clocks.time_out(conn, 1000),
    "release": lambda conn: clocks.release_unacknowledged(conn, 1000),
    "prune": lambda conn: clocks.prune(conn, 30, 1000),
    "find what is due": lambda conn: delivery.due_agents(conn, 1000),
    "deliver": lambda conn: deliver(conn, FakeGateway(), "a1", plenty),
    "cancel": lambda conn: commands.cancel(conn, "k1", "admin"),
    "sweep": lambda conn: sweep(conn, FakeGateway(), deadline=plenty),
    "list": lambda conn: commands.list_page(
        conn, scope=None, agent_id=None, session_id=None, status=Status.DEAD, before=None, limit=20
    ),
}


@pytest.mark.parametrize("what", WORK)
def test_no_statement_walks_the_backlog(backlog: Connection, what: str) -> None:
    """Counted by the database: the rows that it read, whatever the index."""
    with backlog.transaction():
        before = _rows_read(backlog)
        WORK[what](backlog)
        read = _rows_read(backlog) - before

    assert read < 5000


def _rows_read(conn: Connection) -> int:
    row = conn.execute(
        """select seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables
           where relname = 'agent_commands'"""
    ).fetchone()
    assert row is not None
    rows: int = row[0]
    return rows
