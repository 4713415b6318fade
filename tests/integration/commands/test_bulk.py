"""All commands that a filter means, cancelled or redriven while others change them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from dispatcher.access.roles import Operator, Role
from dispatcher.commands import bulk
from dispatcher.commands.bulk import BulkChange, BulkDone
from dispatcher.commands.command_lists import Filter
from dispatcher.commands.delivery import deliver
from dispatcher.errors import Conflict, Unprocessable
from dispatcher.platform.database import Connection, open_connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import connect_new_agent, create_agent, put, report, report_of, statuses, waits_for_lock

OPERATOR = Operator(username="ann", role=Role.SENDER)
OF_A1 = Filter(agent_id="a1")


@pytest.fixture
def other(database_url: str) -> Iterator[Connection]:
    """A second session."""
    with open_connection(database_url) as conn:
        yield conn


def while_waiting(conn: Connection, other: Connection, work: Callable[[], BulkDone]) -> Callable[[], BulkDone]:
    """Begin work of the other session that waits for a lock of this transaction; return how to get its answer."""
    pool = ThreadPoolExecutor(1)
    future: Future[BulkDone] = pool.submit(work)
    while not waits_for_lock(conn, other):
        assert not future.done(), future.result()
    pool.shutdown(wait=False)
    return lambda: future.result(timeout=20)


def changes(conn: Connection) -> list[tuple[str, int, int]]:
    """Return the audit entries: action, matched and changed."""
    return conn.execute(
        """select action, (detail ->> 'matched')::integer, (detail ->> 'changed')::integer
           from audit_log where action like '%% commands' order by audit_id"""
    ).fetchall()


def test_two_cancels_at_once_cancel_each_command_once(conn: Connection, other: Connection) -> None:
    """Both match; what the first has cancelled is not changed by the second."""
    create_agent(conn)
    for number in range(3):
        put(conn, f"k{number}")

    with conn.transaction():
        first = bulk.cancel(conn, BulkChange(wanted=OF_A1), OPERATOR)
        second = while_waiting(conn, other, lambda: bulk.cancel(other, BulkChange(wanted=OF_A1), OPERATOR))

    assert first == BulkDone(matched=3, changed=3)
    assert second() == BulkDone(matched=3, changed=0)
    assert changes(conn) == [("cancel commands", 3, 3), ("cancel commands", 3, 0)]
    history = conn.execute("select count(*) from command_history where to_status = 'cancelled'").fetchone()
    assert history == (3,)


def test_a_command_that_ends_meanwhile_is_not_cancelled(conn: Connection, other: Connection) -> None:
    """Its end is final; it is matched and not changed."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=1)
    put(conn, "k1")
    put(conn, "k2")
    deliver(conn, FakeGateway(), "a1", plenty)

    with conn.transaction():
        report(conn, report_of("ack"), report_of("complete"))
        done = while_waiting(conn, other, lambda: bulk.cancel(other, BulkChange(wanted=OF_A1, expected=2), OPERATOR))

    assert done() == BulkDone(matched=2, changed=1)
    assert statuses(conn) == {"k1": "completed", "k2": "cancelled"}


def test_two_redrives_at_once_submit_each_command_once(conn: Connection, other: Connection) -> None:
    """The second looks when the first is done, so that its expected number differs."""
    create_agent(conn)
    put(conn, "k1", status="failed")
    put(conn, "k2", status="dead")

    with conn.transaction():
        first = bulk.redrive(conn, BulkChange(wanted=OF_A1, expected=2), OPERATOR)
        second = while_waiting(conn, other, lambda: bulk.redrive(other, BulkChange(wanted=OF_A1, expected=2), OPERATOR))

    assert first == BulkDone(matched=2, changed=2)
    with pytest.raises(Conflict):
        second()
    assert conn.execute("select redrive_of from command_list where redrive_of is not null order by 1").fetchall() == [
        ("k1",),
        ("k2",),
    ]
    assert changes(conn) == [("redrive commands", 2, 2)]


def test_the_agent_is_told_to_stop_a_pending_command_that_it_may_have(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that was given up may have reached it; as by the cancel of one command."""
    told: list[str] = []

    def hand_over(_conn: Connection, agent_ids: Sequence[str]) -> None:
        told.extend(agent_ids)

    monkeypatch.setattr(bulk, "hand_over", hand_over)
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=1)
    put(conn, "k1", attempt=1)
    put(conn, "k2")

    bulk.cancel(conn, BulkChange(wanted=OF_A1), OPERATOR)

    rows = conn.execute("select command_id, status, stop_wanted from agent_commands order by 1").fetchall()
    assert rows == [("k1", "cancelled", True), ("k2", "cancelled", False)]
    assert told == ["a1"]


def test_nothing_is_done_where_another_number_was_expected(conn: Connection) -> None:
    """Neither to the commands nor in the audit log."""
    create_agent(conn)
    put(conn, "k1")

    with pytest.raises(Conflict):
        bulk.cancel(conn, BulkChange(wanted=OF_A1, expected=2), OPERATOR)

    assert statuses(conn) == {"k1": "pending"}
    assert changes(conn) == []


def test_a_dry_run_counts_all_or_says_that_it_cannot(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The statuses do not share what one request may read; a number that is too small is no answer."""
    monkeypatch.setattr(bulk, "ROWS", 6)
    monkeypatch.setattr(bulk, "MOST", 2)
    create_agent(conn)
    for number in range(6):
        put(conn, f"k{number}")

    counted = bulk.cancel(conn, BulkChange(wanted=Filter(), dry_run=True), OPERATOR)
    put(conn, "k6")

    assert counted == BulkDone(matched=6, changed=0)
    with pytest.raises(Unprocessable, match="at least 6 commands match"):
        bulk.cancel(conn, BulkChange(wanted=Filter(), dry_run=True), OPERATOR)
