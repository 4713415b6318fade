"""The life of a command: the SQL and TRANSITIONS agree for every move and every status."""

import json
from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import pytest
from psycopg import errors

from dispatcher.access.roles import Operator, Role
from dispatcher.agents import registry
from dispatcher.commands import cancellation, claims, deadlines, redelivery, submission
from dispatcher.commands.claims import Claim, Outcome
from dispatcher.commands.delivery import deliver
from dispatcher.commands.lifecycle import ALIVE, ENDED, GUESSED, TRANSITIONS, Move, Status
from dispatcher.platform.database import Connection
from dispatcher.protocol.frames import ClaimedCommand
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import (
    PAST,
    connect,
    connect_new_agent,
    create_agent,
    find,
    move_into_past,
    put,
    receive,
    report,
    report_of,
    say,
)

ADMIN = Operator(username="ann", role=Role.ADMIN)
CLAIMED = ClaimedCommand(command_id="k1", attempt=1, moves=0, frame="", seconds_left=None)
CLAIM = Claim(
    agent_id="a1",
    token="0" * 32,
    begun=0.0,
    connection_id="c1",
    epoch=1,
    mode=DeliveryMode.BATCHING,
    refusals=0,
    commands=(),
    stops=(),
)


def _claim(conn: Connection) -> None:
    claims.claim(conn, "a1")


def _release(conn: Connection) -> None:
    claims.release(conn, CLAIM, Outcome(unsent=[CLAIMED], unsent_cause="given back"), look_again=False)


def _bury(conn: Connection) -> None:
    conn.execute("update agent_commands set attempt = 2, max_attempts = 2 where status <> 'pending'")
    conn.execute("update agent_commands set ack_deadline = now() - interval '1 s' where status = 'sent'")
    redelivery.return_unacknowledged(conn, 10)


def _expire(conn: Connection) -> None:
    conn.execute("update agent_commands set deliver_by = now() - interval '1 s'")
    deadlines.expire(conn, 10)


def _time_out(conn: Connection) -> None:
    conn.execute(
        "update agent_commands set execution_deadline = now() - interval '1 s' where execution_deadline is not null"
    )
    deadlines.time_out(conn, 10)


def _acknowledge(conn: Connection) -> None:
    report(conn, report_of("ack"))


def _complete(conn: Connection) -> None:
    report(conn, report_of("complete"))


def _fail(conn: Connection) -> None:
    report(conn, report_of("failed", error="no"))


def _acknowledge_and_complete(conn: Connection) -> None:
    report(conn, report_of("ack"), report_of("complete"))


def _acknowledge_and_fail(conn: Connection) -> None:
    report(conn, report_of("ack"), report_of("failed", error="no"))


def _request_cancel(conn: Connection) -> None:
    cancellation.request_cancel(conn, "k1", ADMIN)


def _confirm_cancel(conn: Connection) -> None:
    conn.execute("update agent_commands set cancel_requested_at = now()")
    report(conn, report_of("cancelled"))


def _cancel(conn: Connection) -> None:
    registry.delete(conn, FakeGateway(), "a1", ADMIN)


def _report_retryable(conn: Connection) -> None:
    report(conn, report_of("failed", error="busy", retryable=True))


def _resume(conn: Connection, *running: dict[str, Any]) -> None:
    connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING, window=5)
    receive(conn, "a1", "c2", json.dumps({"type": "resume", "running": running}))


def _lose(conn: Connection) -> None:
    _resume(conn)


def _lose_and_redeliver(conn: Connection) -> None:
    conn.execute("update agent_commands set redeliver_after_ack = true")
    _resume(conn)


def _lose_a_cancelled_one(conn: Connection) -> None:
    conn.execute("update agent_commands set cancel_requested_at = now() where status = 'acknowledged'")
    _resume(conn)


def _name_as_running(conn: Connection) -> None:
    _resume(conn, {"commandId": "k1", "attempt": 1})


def _fail_as_unsendable(conn: Connection) -> None:
    claims.release(conn, CLAIM, Outcome(unsendable=[(CLAIMED, "too large")]), look_again=False)


def _reconnect(conn: Connection) -> None:
    connect(conn, connection_id="c2")


def _return_unacknowledged(conn: Connection) -> None:
    conn.execute("update agent_commands set ack_deadline = now() - interval '1 s' where status = 'sent'")
    redelivery.return_unacknowledged(conn, 10)


def _cancel_unacknowledged(conn: Connection) -> None:
    conn.execute("update agent_commands set cancel_requested_at = now()")
    _return_unacknowledged(conn)


def _end_orphans(conn: Connection) -> None:
    conn.execute("update agents set deleted_at = now()")
    deadlines.end_orphans(conn, 10)


def _sources(move: Move) -> dict[Status, list[Status]]:
    """Return the way of a command from each source of a move."""
    return {source: [TRANSITIONS[move].target] for source in TRANSITIONS[move].sources}


ACKNOWLEDGED, CANCELLED, FAILED = Status.ACKNOWLEDGED, Status.CANCELLED, Status.FAILED
PENDING, SENT, TIMED_OUT = Status.PENDING, Status.SENT, Status.TIMED_OUT
WORK: dict[Callable[[Connection], object], dict[Status, list[Status]]] = {
    _claim: _sources(Move.CLAIM),
    _release: _sources(Move.RELEASE),
    _acknowledge: _sources(Move.ACKNOWLEDGE),
    _complete: _sources(Move.COMPLETE),
    _fail: _sources(Move.FAIL),
    _expire: _sources(Move.EXPIRE),
    _cancel: _sources(Move.CANCEL),
    _confirm_cancel: _sources(Move.CONFIRM_CANCEL),
    _bury: _sources(Move.DEAD_LETTER),
    _time_out: _sources(Move.TIME_OUT),
    # A retryable failure is a retry; of a command whose end was guessed it is the real end.
    _report_retryable: {**_sources(Move.RETRY), **{guess: [FAILED] for guess in GUESSED}},
    # The same moves made by other statements.
    _request_cancel: {PENDING: [CANCELLED]},
    _cancel_unacknowledged: {SENT: [CANCELLED]},
    _end_orphans: {PENDING: [CANCELLED]},
    _fail_as_unsendable: {SENT: [FAILED]},
    _reconnect: {SENT: [PENDING]},
    _return_unacknowledged: {SENT: [PENDING]},
    # The reconnection before a resume returns what was not acknowledged.
    _lose: {SENT: [PENDING], ACKNOWLEDGED: [TIMED_OUT]},
    _lose_and_redeliver: {SENT: [PENDING], ACKNOWLEDGED: [PENDING]},
    _lose_a_cancelled_one: {SENT: [PENDING], ACKNOWLEDGED: [CANCELLED]},
    _name_as_running: {PENDING: [ACKNOWLEDGED], SENT: [PENDING, ACKNOWLEDGED]},
    # One update, and one row of history for each transition.
    _acknowledge_and_complete: {
        **_sources(Move.COMPLETE),
        **{source: [ACKNOWLEDGED, Status.COMPLETED] for source in (PENDING, SENT)},
    },
    _acknowledge_and_fail: {**_sources(Move.FAIL), **{source: [ACKNOWLEDGED, FAILED] for source in (PENDING, SENT)}},
}


@pytest.mark.parametrize(("work", "status"), list(product(WORK, Status)))
def test_a_move_is_made_only_from_its_source_statuses(
    conn: Connection, work: Callable[[Connection], object], status: Status
) -> None:
    """Each pair is tried on a real row; the history has one row for each transition, none marked as made by hand."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=5)
    put(conn, "k1", status=status, attempt=1, max_attempts=3, epoch=1)

    work(conn)

    way = [status, *WORK[work].get(status, [])]
    rows = conn.execute("select from_status, to_status, by_hand from command_history order by history_id").fetchall()
    assert find(conn).status == way[-1]
    assert rows == [(None, status, False), *((before, after, False) for before, after in pairwise(way))]


def test_every_move_is_made_by_some_statement() -> None:
    """And every transition that a statement makes is legal."""
    legal = {(source, move.target) for move in TRANSITIONS.values() for source in move.sources}
    made = {pair for ways in WORK.values() for source, way in ways.items() for pair in pairwise([source, *way])}

    assert made == legal


@pytest.mark.parametrize("kind", ["complete", "failed"])
def test_an_end_that_the_agent_confirmed_is_final(conn: Connection, kind: str) -> None:
    """I6: the agent itself said that it did not execute the command."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=5)
    put(conn, "k1", status="acknowledged", attempt=1, epoch=1, cancel_requested_at=PAST)
    report(conn, report_of("cancelled"))

    moved = report(conn, report_of(kind, error="no"))

    assert not moved
    assert find(conn).status == "cancelled"


@pytest.mark.parametrize("kind", ["complete", "failed"])
@pytest.mark.parametrize("status", [*sorted(GUESSED)])
def test_an_end_before_any_attempt_is_final(conn: Connection, status: Status, kind: str) -> None:
    """I9: the agent was never sent the command, so it cannot have a result."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=5)
    put(conn, "k1", status=status, attempt=0)

    moved = report(conn, report_of(kind, error="no"))

    assert not moved
    assert find(conn).status == status


@pytest.mark.parametrize("cause", [None, "an operator's reason"])
@pytest.mark.parametrize("status", [status for status in Status if status is not Status.SENT])
def test_an_update_with_plain_sql_is_recorded_as_made_by_hand(
    conn: Connection, status: Status, cause: str | None
) -> None:
    """Also if it sets a cause, as the dispatcher's own moves do."""
    create_agent(conn)
    put(conn, "k1", status="sent", attempt=1)

    conn.execute(
        "update agent_commands set status = %s, cause = coalesce(%s, cause), execution_deadline = now()",
        (status, cause),
    )

    history = conn.execute(
        "select from_status, to_status, by_hand, cause from command_history order by history_id"
    ).fetchall()
    assert history == [(None, "sent", False, "accepted"), ("sent", status, True, cause or "changed by hand")]


def test_a_change_by_hand_is_recorded_after_any_move(conn: Connection) -> None:
    """I16: also where the move before it wrote its own history, or a sweep made it; and it is checked."""
    connect_new_agent(conn)
    put(conn, "k1", max_attempts=2)
    back_by_hand = "update agent_commands set status = 'pending', attempt = 0"

    deliver(conn, FakeGateway(), "a1", plenty)
    conn.execute(back_by_hand)
    deliver(conn, FakeGateway(), "a1", plenty)
    move_into_past(conn, "ack_deadline")
    redelivery.return_unacknowledged(conn, 10)
    conn.execute("update agent_commands set status = 'failed'")
    with pytest.raises(errors.CheckViolation):
        conn.execute("update agent_commands set status = 'no such status'")

    rows = conn.execute("select from_status, to_status, by_hand from command_history order by history_id").fetchall()
    assert rows == [
        (None, "pending", False),
        ("pending", "sent", False),
        ("sent", "pending", True),
        ("pending", "sent", False),
        ("sent", "pending", False),
        ("pending", "failed", True),
    ]


def test_rows_that_are_put_back_by_hand_are_in_the_lists_and_have_a_history(conn: Connection) -> None:
    """I16: whatever their columns say of moves that were recorded; and a new row cannot say so."""
    connect_new_agent(conn, window=2)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    conn.execute("create temp table saved as select * from agent_commands")
    conn.execute("delete from agent_commands")

    conn.execute("insert into agent_commands overriding system value select * from saved")
    put(conn, "k2", recorded=0)

    listed = conn.execute("select command_id from command_list order by seq").fetchall()
    history = conn.execute("select command_id, to_status from command_history order by history_id").fetchall()
    assert listed == [("k1",), ("k2",)]
    assert history[-2:] == [("k1", "sent"), ("k2", "pending")]


def test_a_command_that_is_deleted_by_hand_leaves_the_lists_alone(conn: Connection) -> None:
    """The others that were accepted at the same moment stay, also one with the same number."""
    create_agent(conn)
    new = [submission.NewCommand(agent_id="a1", action="noop")] * 3
    first, second, third = (each.command_id for each in submission.submit_list(conn, new, None, ADMIN))
    with conn.transaction():
        conn.execute("create temp table copied as select * from agent_commands where command_id = %s", (second,))
        conn.execute("update copied set command_id = 'copy'")
        conn.execute("insert into agent_commands overriding system value select * from copied")

    conn.execute("delete from agent_commands where command_id = %s", (second,))

    listed = conn.execute("select command_id from command_list").fetchall()
    assert sorted(listed) == sorted([(first,), (third,), ("copy",)])


def test_a_command_that_is_deleted_by_hand_leaves_the_lists_also_with_another_time(conn: Connection) -> None:
    """The lists have the time of its acceptance."""
    create_agent(conn)
    for command_id in ("k1", "k2", "k3"):
        put(conn, command_id)
    conn.execute("update agent_commands set created_at = created_at - interval '1 day' where command_id = 'k2'")

    conn.execute("delete from agent_commands where command_id in ('k1', 'k2')")

    assert conn.execute("select command_id from command_list").fetchall() == [("k3",)]


def test_a_copy_of_a_command_is_listed_and_has_a_history(conn: Connection) -> None:
    """I16: it says of its moves what the first one says of its own, and it is accepted now."""
    connect_new_agent(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    with conn.transaction():  # one moment
        conn.execute("create temp table copied as select * from agent_commands")
        conn.execute("update copied set command_id = 'k2', seq = seq + 1, status = 'pending', created_at = now()")
        conn.execute("insert into agent_commands overriding system value select * from copied")

    listed = conn.execute("select command_id from command_list order by seq").fetchall()
    history = conn.execute("select to_status from command_history where command_id = 'k2'").fetchall()
    assert listed == [("k1",), ("k2",)]
    assert history == [("pending",)]


@pytest.mark.parametrize("move", ["ack", "return"])
def test_a_number_of_moves_that_is_lowered_by_hand_hides_no_move_and_doubles_none(conn: Connection, move: str) -> None:
    """I16: the next move comes to the number that is recorded already."""
    connect_new_agent(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    conn.execute("update agent_commands set moves = 0")
    if move == "ack":
        say(conn, "ack", commandId="k1")
    else:
        move_into_past(conn, "ack_deadline")
        redelivery.return_unacknowledged(conn, 10)

    rows = conn.execute("select from_status, to_status from command_history order by history_id").fetchall()
    reached = "acknowledged" if move == "ack" else "pending"
    assert rows == [(None, "pending"), ("pending", "sent"), ("sent", reached)]


def test_what_is_put_back_from_a_copy_by_hand_is_recorded_and_checked(conn: Connection) -> None:
    """I16: the copy says that its moves are recorded."""
    connect_new_agent(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    conn.execute("create temp table copied as select * from agent_commands")
    say(conn, "ack", commandId="k1")
    back = """
        update agent_commands c
        set status = %s, moves = s.moves, recorded = s.recorded, ack_deadline = s.ack_deadline
        from copied s
        where s.command_id = c.command_id
        """

    with pytest.raises(errors.CheckViolation, match="no such status"):
        conn.execute(back, ("unheard-of",))
    conn.execute(back, ("sent",))
    say(conn, "ack", commandId="k1")

    rows = conn.execute("select from_status, to_status, by_hand from command_history order by history_id").fetchall()
    assert rows[2:] == [
        ("sent", "acknowledged", False),
        ("acknowledged", "sent", True),
        ("sent", "acknowledged", False),
    ]


def test_each_step_of_a_command_has_its_time_in_order(conn: Connection) -> None:
    """I12: every time comes from the database's clock."""
    connect_new_agent(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    say(conn, "ack", commandId="k1")
    say(conn, "complete", commandId="k1")

    times = conn.execute("select created_at, sent_at, acknowledged_at, completed_at from agent_commands").fetchone()
    assert times is not None
    assert None not in times
    assert list(times) == sorted(times)


def test_each_status_is_alive_or_an_end() -> None:
    """A new status must say which."""
    assert set(Status) == ALIVE | ENDED
    assert not ALIVE & ENDED
