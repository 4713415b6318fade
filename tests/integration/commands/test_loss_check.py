"""The loss check finds each kind of error, and raises no false alarm."""

import pytest

from dispatcher.commands import deadlines
from dispatcher.commands.delivery import deliver
from dispatcher.commands.loss_check import CHECKS, check_for_loss, figure, recorded_figure
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection, open_connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import connect_new_agent, put, say

BROKEN = {
    "lost_commands": "delete from agent_commands where command_id = 'k1'",
    "stuck_commands": """
        update agent_commands set created_at = now() - interval '1 hour' where command_id = 'k2';
        update agents set connected_at = now() - interval '1 hour';
        update command_history set at = at - interval '1 hour'""",
    "overdue_commands": "update agent_commands set deliver_by = now() - interval '1 hour' where command_id = 'k2'",
    "illegal_transitions": "update agent_commands set status = 'pending', moves = moves + 1 where command_id = 'k1'",
    "broken_histories": """
        alter table agent_commands disable trigger agent_commands_record_update;
        update agent_commands set status = 'failed' where command_id = 'k1'""",
    "times_out_of_order": "update agent_commands set sent_at = created_at - interval '1 day' where command_id = 'k1'",
}


@pytest.fixture(autouse=True)
def _history(conn: Connection) -> None:
    """One command is completed, and one is pending."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=1)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    say(conn, "complete", commandId="k1")
    put(conn, "k2")


def test_a_correct_history_has_no_findings(conn: Connection) -> None:
    """No check raises a false alarm."""
    found = check_for_loss(conn)

    assert found.clean
    assert found.figures["pending_commands"] == 1
    assert found.figures["connected_agents"] == 1


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_finds_its_own_kind_of_error(conn: Connection, check: str) -> None:
    """And no other check finds anything."""
    for statement in BROKEN[check].split(";"):
        conn.execute(statement.encode())

    found = check_for_loss(conn)

    assert {finding.check for finding in found.findings if finding.offenders} == {check}


def test_a_deleted_history_is_found(conn: Connection) -> None:
    """I16: a command without any history is broken too."""
    conn.execute("delete from command_history where command_id = 'k2'")

    found = check_for_loss(conn)

    broken = {finding.check: finding.offenders for finding in found.findings if finding.offenders}
    assert broken == {"broken_histories": 1}


@pytest.mark.parametrize("cause", [None, "an operator's reason"])
def test_an_illegal_transition_made_by_hand_is_allowed(conn: Connection, cause: str | None) -> None:
    """The same transition is a finding above; an operator may make it with SQL, and may set a cause."""
    conn.execute(
        "update agent_commands set status = 'pending', cause = coalesce(%s, cause) where command_id = 'k1'", (cause,)
    )

    assert check_for_loss(conn).clean


def test_a_command_that_somebody_deleted_is_found_for_a_day(conn: Connection) -> None:
    """I2: also if it was accepted long before; only the sweep deletes commands, long after their end."""
    conn.execute("update command_history set at = at - interval '3 hours'")
    conn.execute("delete from agent_commands where command_id = 'k2'")
    found = [finding for finding in check_for_loss(conn).findings if finding.offenders]
    recorded = conn.execute("select from_status, by_hand from command_history where to_status = 'deleted'").fetchall()
    conn.execute("update command_history set at = at - interval '25 hours'")

    assert [(finding.check, finding.some) for finding in found] == [("lost_commands", ("k2",))]
    assert recorded == [("pending", True)]
    assert check_for_loss(conn).clean


def test_a_pruned_command_is_not_lost(conn: Connection) -> None:
    """It ended long ago."""
    conn.execute("update agent_commands set completed_at = now() - interval '60 days' where command_id = 'k1'")

    assert deadlines.prune(conn, 30, 10) == 1
    assert check_for_loss(conn).clean


@pytest.mark.parametrize(("minutes", "busy", "found"), [(3, True, 0), (8, True, 1), (1, False, 0), (3, False, 1)])
def test_an_ack_that_is_long_overdue_is_found(conn: Connection, minutes: int, found: int, *, busy: bool) -> None:
    """F1: an agent that executes another command may take five minutes longer, and no more."""
    if busy:
        put(conn, "k0", status="acknowledged", attempt=1, epoch=1)
    put(conn, "k3", status="sent", attempt=1, epoch=1)
    conn.execute(
        "update agent_commands set ack_deadline = now() - %s * interval '1 minute' where command_id = 'k3'", (minutes,)
    )

    overdue = {finding.check: finding.offenders for finding in check_for_loss(conn).findings}["overdue_commands"]

    assert overdue == found


@pytest.mark.parametrize(
    "reason",
    [
        "retry_at = now() + interval '1 minute'",
        "not_before = now() + interval '1 minute'",
        "incarnation = 7",
        "deliver_by = now()",
    ],
)
def test_a_command_that_is_not_due_is_not_stuck(conn: Connection, reason: str) -> None:
    """It waits with a reason."""
    for statement in BROKEN["stuck_commands"].split(";"):
        conn.execute(statement.encode())
    conn.execute(f"update agent_commands set {reason} where command_id = 'k2'".encode())

    assert check_for_loss(conn).clean


@pytest.mark.parametrize("reason", ["refusals = 3", "spoke = false, commanded_at = now() - interval '1 hour'"])
def test_the_commands_of_an_agent_that_is_refused_or_mute_are_not_stuck(conn: Connection, reason: str) -> None:
    """They have figures of their own, and alarms."""
    for statement in BROKEN["stuck_commands"].split(";"):
        conn.execute(statement.encode())
    conn.execute(f"update agents set {reason}".encode())

    assert check_for_loss(conn).clean


def test_each_sweep_records_what_healthz_shows(conn: Connection) -> None:
    """One row, whatever is in the tables."""
    before = recorded_figure(conn, "oldest_due_seconds")
    conn.execute("update agent_commands set created_at = now() - interval '1 hour' where command_id = 'k2'")
    conn.execute("update agents set throttled_until = now() + interval '1 hour'")

    sweep(conn, FakeGateway(), deadline=plenty)

    assert before == 0
    assert 3600 <= recorded_figure(conn, "oldest_due_seconds") < 3700


def test_the_lag_of_the_feed_tells_of_a_transaction_that_does_not_end(conn: Connection, database_url: str) -> None:
    """And the lag of a sink of events that are not passed on."""
    clear = figure(conn, "feed_lag_seconds")
    with open_connection(database_url) as other, other.transaction():
        put(other, "first")
        put(conn, "second")
        conn.execute("update command_history set at = now() - interval '1 minute'")
        stuck = figure(conn, "feed_lag_seconds")
    conn.execute("insert into sinks (name, life, position, number) values ('s', 'l', 0, 0)")
    behind = figure(conn, "sink_lag_seconds")
    conn.execute("update sinks set ran_at = now() - interval '1 hour'")

    assert clear == 0
    assert 60 <= stuck < 90
    assert 60 <= behind < 90
    assert figure(conn, "sink_lag_seconds") == 0
