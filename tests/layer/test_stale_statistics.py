"""No statement walks what it is not about, whatever the planner believes.

An outage puts a backlog into the table before anyone has analyzed it; an agent has a past of more commands than the planner
takes it to have.
"""

from collections.abc import Callable
from typing import Any

import pytest

from dispatcher.access.identity import Operator, Role
from dispatcher.commands import submission as intake
from dispatcher.commands.delivery import deliver
from dispatcher.commands.model import Status
from dispatcher.commands.reports import receive
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from dispatcher.store import circumstances, clocks, commands, delivery
from dispatcher.store.commands import NewCommand
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put

BACKLOG = 30_000
OPERATOR = Operator(username="ann", role=Role.ADMIN)


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


@pytest.fixture(params=["never", "before", "since"])
def past(request: pytest.FixtureRequest, conn: Connection) -> Connection:
    """An agent that has executed much and has one command due, in a table that was looked at then, among others' backlog."""
    conn.execute("alter table agent_commands set (autovacuum_enabled = off)")
    provide(conn)
    connect(conn)
    others = (
        "insert into agent_commands (agent_id, action) select 'away-' || n %% 30, 'noop' from generate_series(1, %s) n"
    )
    if request.param == "before":
        conn.execute(others, (BACKLOG,))
        conn.execute("vacuum analyze agent_commands")
    conn.execute(
        """insert into agent_commands (agent_id, action, status, session_id, completed_at)
           select 'a1', 'noop', 'completed', 's' || n %% 10, now() from generate_series(1, %s) n""",
        (BACKLOG,),
    )
    if request.param == "since":
        conn.execute(others, (BACKLOG,))
        conn.execute("vacuum analyze agent_commands")
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
    "accept": lambda conn: intake.submit(conn, [NewCommand(agent_id="a1", action="noop", payload={})], OPERATOR),
    "settle": lambda conn: receive(conn, "a1", "c1", '{"type": "ack", "payload": {"commandId": "k1"}}'),
    "answer of a session": lambda conn: receive(
        conn, "a1", "c1", '{"type": "command_response", "payload": {"sessionId": "t"}}'
    ),
    "tell why": lambda conn: circumstances.of(conn, "k1"),
    "come back": lambda conn: connect(conn, "a1", "c2"),
    "list": lambda conn: commands.list_page(
        conn, scope=None, agent_id=None, session_id=None, status=Status.DEAD, before=None, limit=20
    ),
}


@pytest.mark.parametrize("what", WORK)
def test_no_statement_walks_the_backlog(backlog: Connection, what: str) -> None:
    """Counted by the database: the rows that it read, whatever the index."""
    assert _rows_read_by(WORK[what], backlog) < 5000


@pytest.mark.parametrize("what", WORK)
def test_no_statement_walks_an_agents_past(past: Connection, what: str) -> None:
    """Retention is 30 days: an agent may have done much in them."""
    assert _rows_read_by(WORK[what], past) < 5000


@pytest.mark.parametrize(
    "filters",
    [{}, {"before": 1000}, {"agent_id": "a1"}, {"session_id": "s1"}, {"status": "completed"}, {"status": "pending"}],
    ids=str,
)
def test_a_list_reads_no_more_than_its_page(past: Connection, filters: dict[str, Any]) -> None:
    """The newest of all, of one agent, of one session, in one status."""
    wanted: dict[str, Any] = {**dict.fromkeys(("scope", "agent_id", "session_id", "status", "before")), **filters}

    assert _rows_read_by(lambda conn: commands.list_page(conn, **wanted, limit=20), past) < 5000


def _rows_read_by(work: Callable[[Connection], object], conn: Connection) -> int:
    with conn.transaction():
        before = _rows_read(conn)
        work(conn)
        return _rows_read(conn) - before


def _rows_read(conn: Connection) -> int:
    row = conn.execute(
        """select seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables
           where relname = 'agent_commands'"""
    ).fetchone()
    assert row is not None
    rows: int = row[0]
    return rows
