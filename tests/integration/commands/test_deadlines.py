"""Deadlines: commands expire, time out, and are pruned."""

import datetime as dt
from collections.abc import Callable

import pytest

from dispatcher.commands import deadlines, redelivery
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection, open_connection
from tests.fakes import FakeGateway, plenty
from tests.rows import PAST, connect_new_agent, create_agent, put, statuses


@pytest.mark.parametrize(
    ("work", "status"),
    [(deadlines.expire, "pending"), (redelivery.return_unacknowledged, "sent"), (deadlines.time_out, "acknowledged")],
    ids=["expire", "return_unacknowledged", "time_out"],
)
def test_a_pass_is_bounded_takes_the_longest_overdue_first_and_waits_for_no_lock(
    conn: Connection, database_url: str, work: Callable[[Connection, int], int], status: str
) -> None:
    """Another transaction has locked one of the rows; the pass skips it."""
    connect_new_agent(conn)
    for number in (3, 1, 2, 4):
        past = f"2020-01-0{number}"
        put(conn, f"k{number}", status=status, deliver_by=past, ack_deadline=past, execution_deadline=past, attempt=1)
    conn.execute("set lock_timeout = '300ms'")

    with open_connection(database_url) as other, other.transaction():
        other.execute("select from agent_commands where command_id = 'k1' for update")
        moved = work(conn, 2)

    rows = conn.execute("select command_id from agent_commands where status = %s order by 1", (status,)).fetchall()
    assert moved == 2
    assert rows == [("k1",), ("k4",)]


def test_a_command_that_a_sweep_ended_has_completed_at_and_no_deadline(conn: Connection) -> None:
    """Without `completed_at` a command would never be pruned."""
    create_agent(conn)
    put(conn, "expired", deliver_by=PAST)
    put(conn, "dead", status="sent", attempt=3, max_attempts=3, ack_deadline=PAST)
    put(conn, "cancelled", status="sent", attempt=1, ack_deadline=PAST, cancel_requested_at=PAST)
    put(conn, "timed_out", status="acknowledged", attempt=1, execution_deadline=PAST)

    sweep(conn, FakeGateway(), deadline=plenty)

    rows = conn.execute(
        """select command_id, status, completed_at is not null, ack_deadline, execution_deadline
           from agent_commands order by seq"""
    ).fetchall()
    ends = ["expired", "dead", "cancelled", "timed_out"]
    assert rows == [(end, end, True, None, None) for end in ends]


def test_commands_that_ended_long_ago_are_pruned_with_their_history(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else stays."""
    monkeypatch.setenv("RETENTION_DAYS", "7")
    for name, days in (("old", 8), ("young", 6)):
        put(conn, name, status="completed", completed_at=dt.datetime.now(dt.UTC) - dt.timedelta(days=days))

    swept = sweep(conn, FakeGateway(), deadline=plenty)

    assert swept.pruned == 1
    assert statuses(conn) == {"young": "completed"}
    assert conn.execute("select distinct command_id from command_history").fetchall() == [("young",)]
