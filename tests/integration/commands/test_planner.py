"""Statements read only the rows that they need, even with old planner statistics.

An outage fills the table before it is analyzed; an agent may have done more than the planner expects.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime

import pytest

from dispatcher.access import audit_log
from dispatcher.access.roles import Operator, Role
from dispatcher.agents import registry
from dispatcher.agents.selectors import parse
from dispatcher.commands import (
    cancellation,
    claims,
    command_lists,
    command_records,
    deadlines,
    explanation,
    loss_check,
    redelivery,
    submission,
)
from dispatcher.commands.command_lists import Filter, Position
from dispatcher.commands.delivery import deliver
from dispatcher.commands.lifecycle import Status
from dispatcher.commands.submission import NewCommand
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection, open_connection
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, connect_new_agent, create_agent, put, receive, report, report_of, say

BACKLOG = 30_000
FEW, PAGE, BOUNDED = 20, 100, 2000
"""The most rows of all tables that are read: by a step, for a page of 20, and by what says so if it ends early."""
OPERATOR = Operator(username="ann", role=Role.ADMIN)


Databases = Callable[[], AbstractContextManager[str]]


@pytest.fixture(scope="module")
def database_with_backlog(new_database: Databases) -> Iterator[str]:
    """The URL of a table that was analyzed when everything had ended, and then got a backlog."""
    with new_database() as url:
        with open_connection(url) as conn:
            conn.execute("alter table agent_commands set (autovacuum_enabled = off)")
            conn.execute(
                """insert into agent_commands (agent_id, action, status, completed_at)
                   select 'offline-' || n % 10, 'noop', 'completed', now() from generate_series(1, 2000) n"""
            )
            conn.execute("vacuum analyze agent_commands")
            for number in range(10):
                create_agent(conn, f"offline-{number}")
            conn.execute(
                """insert into agent_commands (agent_id, action, deliver_by)
                   select 'offline-' || n %% 10, 'noop', now() + interval '1 day' from generate_series(1, %s) n""",
                (BACKLOG,),
            )
            connect_new_agent(conn)
            put(conn, "k1")
        yield url


@pytest.fixture(scope="module", params=["never", "before", "since"])
def database_with_past(request: pytest.FixtureRequest, new_database: Databases) -> Iterator[str]:
    """The URL of a table with many ended commands of an agent, never analyzed, analyzed before or after them; one is due."""
    with new_database() as url:
        with open_connection(url) as conn:
            conn.execute("alter table agent_commands set (autovacuum_enabled = off)")
            connect_new_agent(conn)
            if request.param == "before":
                _add_backlog_and_analyze(conn)
            conn.execute(
                """insert into agent_commands (agent_id, action, status, session_id, completed_at)
                   select 'a1', 'noop', 'completed', 's' || n %% 10, now() from generate_series(1, %s) n""",
                (BACKLOG,),
            )
            if request.param == "since":
                _add_backlog_and_analyze(conn)
            put(conn, "k1")
        yield url


def _add_backlog_and_analyze(conn: Connection) -> None:
    conn.execute(
        """insert into agent_commands (agent_id, action)
           select 'offline-' || n %% 30, 'noop' from generate_series(1, %s) n""",
        (BACKLOG,),
    )
    conn.execute("vacuum analyze agent_commands")


@pytest.fixture
def backlog(database_with_backlog: str) -> Iterator[Connection]:
    """A connection of this test to that table."""
    with open_connection(database_with_backlog) as conn:
        yield conn


@pytest.fixture
def past(database_with_past: str) -> Iterator[Connection]:
    """A connection of this test to that table."""
    with open_connection(database_with_past) as conn:
        yield conn


WORK: dict[str, Callable[[Connection], object]] = {
    "expire": lambda conn: deadlines.expire(conn, 1000),
    "time out": lambda conn: deadlines.time_out(conn, 1000),
    "release": lambda conn: redelivery.return_unacknowledged(conn, 1000),
    "prune": lambda conn: deadlines.prune(conn, 30, 1000),
    "find what is due": lambda conn: claims.due_agents(conn, 1000),
    "deliver": lambda conn: deliver(conn, FakeGateway(), "a1", plenty),
    "cancel": lambda conn: cancellation.request_cancel(conn, "k1", OPERATOR),
    "accept": lambda conn: submission.submit(conn, NewCommand(agent_id="a1", action="noop", payload={}), OPERATOR),
    "settle": lambda conn: say(conn, "ack", commandId="k1"),
    "answer of a session": lambda conn: receive(
        conn, "a1", "c1", '{"type": "command_response", "payload": {"sessionId": "t"}}'
    ),
    "tell why": lambda conn: explanation.diagnostics(conn, "k1"),
    "come back": lambda conn: connect(conn, "a1", "c2"),
    "cancel what was for a deleted agent": lambda conn: deadlines.end_orphans(conn, 1000),
    "record figures": loss_check.record_figures,
    "accept a list": lambda conn: submission.submit_list(
        conn, [NewCommand(agent_id="a1", action="noop")] * 100, "k", OPERATOR
    ),
    "accept and claim": lambda conn: submission.submit(
        conn, NewCommand(agent_id="a1", action="noop", idempotency_key="k"), OPERATOR
    ),
    "heartbeat": lambda conn: say(conn, "heartbeat"),
    "complete": lambda conn: say(conn, "complete", commandId="k1"),
    "reports of many": lambda conn: report(conn, *(report_of("ack", f"k{number}") for number in range(100))),
    "resume": lambda conn: receive(conn, "a1", "c1", '{"type": "resume", "running": []}'),
    "delete by hand": lambda conn: conn.execute("delete from agent_commands where command_id = 'k1'"),
    "delete the agent": lambda conn: registry.delete(conn, FakeGateway(), "a1", OPERATOR),
    "list": lambda conn: command_records.list_page(
        conn, scope=None, wanted=Filter(statuses=frozenset({Status.DEAD})), before=None, limit=20, most_bytes=10**6
    ),
}


@pytest.mark.parametrize("what", WORK)
def test_no_statement_reads_the_whole_backlog(backlog: Connection, what: str) -> None:
    """The database counts the rows that were read, with any index."""
    assert _rows_read_by(WORK[what], backlog) <= FEW


@pytest.mark.parametrize("what", WORK)
def test_no_statement_reads_all_ended_commands_of_an_agent(past: Connection, what: str) -> None:
    """Ended commands are kept for 30 days; an agent may have many."""
    assert _rows_read_by(WORK[what], past) <= FEW


def test_a_sweep_reads_some_pages_of_commands_and_the_history_that_is_new(
    backlog: Connection, past: Connection, database_with_history: str
) -> None:
    """It prunes, expires and delivers in pages, and its overview counts what happened since the sweep before it."""
    with open_connection(database_with_history) as old:
        for conn in (backlog, past):
            assert _rows_read_by(_sweep_once, conn, without="command_history") <= 2 * BOUNDED
        assert _rows_read_by(_sweep_once, old) <= 2 * BOUNDED


@pytest.mark.parametrize("what", ["accept", "accept a list", "deliver", "settle", "complete", "reports of many"])
def test_a_plan_for_an_empty_table_reads_few_rows_of_a_full_one(conn: Connection, what: str) -> None:
    """A session plans a hot statement once, perhaps for a new service, and keeps the plan until the table is analyzed."""
    conn.execute("alter table agent_commands set (autovacuum_enabled = off)")
    connect_new_agent(conn)
    put(conn, "k1")
    _rows_read_by(WORK[what], conn)

    conn.execute("insert into agent_commands (agent_id, action) select 'offline', 'noop' from generate_series(1, 6000)")

    assert _rows_read_by(WORK[what], conn) <= FEW


@pytest.mark.parametrize(
    "filters",
    [
        Filter(),
        Filter(agent_id="a1"),
        Filter(session_id="s1"),
        Filter(statuses=frozenset({Status.COMPLETED})),
        Filter(statuses=frozenset({Status.PENDING})),
        Filter(statuses=frozenset({Status.COMPLETED, Status.PENDING})),
    ],
    ids=["all", "agent", "session", "completed", "pending", "completed or pending"],
)
@pytest.mark.parametrize("before", [None, Position(at=datetime(2100, 1, 1, tzinfo=UTC), seq=1000)])
def test_a_list_reads_no_more_than_its_page(past: Connection, filters: Filter, before: Position | None) -> None:
    """The newest commands: all, of one agent, of one session, in one status."""

    def read(conn: Connection) -> object:
        return command_records.list_page(conn, scope=None, wanted=filters, before=before, limit=20, most_bytes=10**6)

    assert _rows_read_by(read, past) <= PAGE


@pytest.mark.parametrize(
    "filters",
    [
        Filter(action="noop", statuses=frozenset({Status.EXPIRED, Status.COMPLETED}), submitted_by="ann"),
        Filter(agent_id="a1", statuses=frozenset({Status.DEAD})),
        Filter(session_id="s1", action="restart"),
        Filter(selector=parse("!of-tests")),
        Filter(selector=parse("!of-tests"), statuses=frozenset({Status.COMPLETED})),
        Filter(agent_id="a1", selector=parse("zone")),
    ],
    ids=[
        "status and who",
        "agent and status",
        "session and action",
        "selector",
        "selector and status",
        "agent and selector",
    ],
)
def test_a_filter_that_no_index_fits_reads_a_bounded_number_of_rows(past: Connection, filters: Filter) -> None:
    """It ends early and says so, instead of being slow."""
    past.execute('update agents set labels = \'{"of-tests": ""}\'')

    def read(conn: Connection) -> object:
        return command_lists.find(conn, scope=None, wanted=filters, limit=20, rows=500)

    assert _rows_read_by(read, past) <= BOUNDED


def test_one_command_with_another_time_does_not_slow_down_pruning(past: Connection) -> None:
    """Its own entry of the lists is looked for among those of its agent; those of the others are not."""
    with past.transaction(force_rollback=True):
        past.execute(
            """update agent_commands
               set completed_at = now() - interval '40 days',
                   created_at = created_at - (seq % 100 = 0)::integer * interval '1 day'
               where command_id in (select command_id from agent_commands where status = 'completed' order by seq limit 100)"""
        )

        assert _rows_read_by(lambda conn: deadlines.prune(conn, 30, 100), past) <= BACKLOG + BOUNDED


@pytest.mark.parametrize("command_id", ["one", "of-a-list", "unknown"])
def test_a_search_of_the_audit_log_for_a_command_reads_few_rows(conn: Connection, command_id: str) -> None:
    """Also for one of a list, whose entry has the ids of all its commands."""
    conn.execute("alter table audit_log set (autovacuum_enabled = off)")
    conn.execute(
        """insert into audit_log (actor, action, command_id, command_ids)
           select 'ann', 'submit command', case when n %% 2 = 0 then md5(n::text) end,
               case when n %% 2 = 1 then array[md5(n::text), md5(n || 'b')] end
           from generate_series(1, %s) n""",
        (BACKLOG,),
    )
    conn.execute("insert into audit_log (actor, action, command_id) values ('ann', 'submit command', 'one')")
    conn.execute("insert into audit_log (actor, action, command_ids) values ('ann', 'submit command', '{of-a-list}')")

    def read(conn: Connection) -> object:
        return audit_log.list_page(conn, agent_id=None, command_id=command_id, actor=None, before=None, limit=50)

    assert _rows_read_by(read, conn) <= FEW


@pytest.fixture(scope="module", params=["vacuum", "vacuum analyze"])
def database_with_history(request: pytest.FixtureRequest, new_database: Databases) -> Iterator[str]:
    """The URL of a table with a history of days, with and without statistics, and with something recent."""
    with new_database() as url:
        with open_connection(url) as conn:
            for table in ("agent_commands", "command_history"):
                conn.execute(f"alter table {table} set (autovacuum_enabled = off)".encode())
            connect_new_agent(conn)
            conn.execute(
                """insert into command_history (command_id, from_status, to_status, attempt, cause, at)
                   select 'old-' || n, 'sent', 'acknowledged', 1, 'old', now() - interval '9 days' + n * interval '1 second'
                   from generate_series(1, %s) n""",
                (BACKLOG,),
            )
            conn.execute(f"{request.param} command_history".encode())
            put(conn, "k1")
            conn.execute(
                """insert into agent_commands (agent_id, action, status, completed_at)
                   select 'a1', 'noop', 'completed', now() from generate_series(1, 100) n"""
            )
        yield url


@pytest.mark.parametrize("check", ["lost_commands", "stuck_commands", "overdue_commands", "illegal_transitions"])
def test_a_loss_check_does_not_read_the_history_of_days(database_with_history: str, check: str) -> None:
    """It runs every five minutes and looks back for an hour."""
    with open_connection(database_with_history) as conn:
        assert _rows_read_by(lambda conn: loss_check.run(conn, check), conn) <= BOUNDED


@pytest.mark.parametrize("check", ["lost_commands", "stuck_commands", "overdue_commands", "illegal_transitions"])
def test_a_loss_check_does_not_read_all_commands(backlog: Connection, past: Connection, check: str) -> None:
    """Only those that are recent, or under way."""
    for conn in (backlog, past):
        with conn.transaction(force_rollback=True):
            conn.execute("truncate command_history")
            assert _rows_read_by(lambda conn: loss_check.run(conn, check), conn) <= FEW


def _sweep_once(conn: Connection) -> object:
    return sweep(conn, FakeGateway(), deadline=plenty)


def _rows_read_by(work: Callable[[Connection], object], conn: Connection, *, without: str = "") -> int:
    """Count the rows of all tables.  Roll back, because the tests share the tables: their rows take seconds to insert."""
    with conn.transaction(force_rollback=True):
        before = _rows_read(conn, without)
        work(conn)
        return _rows_read(conn, without) - before


def _rows_read(conn: Connection, without: str) -> int:
    row = conn.execute(
        "select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_xact_user_tables where relname <> %s",
        (without,),
    ).fetchone()
    assert row is not None
    rows: int = row[0]
    return rows
