"""The life of a command: the SQL and TRANSITIONS agree for every move and every status."""

from collections.abc import Callable
from itertools import product

import pytest

from dispatcher.commands import cancellation, claims, deadlines, redelivery, settlement
from dispatcher.commands.claims import Claim, Outcome
from dispatcher.commands.delivery import deliver
from dispatcher.commands.lifecycle import ALIVE, ENDED, TRANSITIONS, Move, Status
from dispatcher.commands.settlement import Reporter
from dispatcher.platform.database import Connection
from dispatcher.protocol.frames import ClaimedCommand
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import connect_new_agent, create_agent, find, put, say

ME = Reporter(agent_id="a1", epoch=1)
CLAIMED = ClaimedCommand(command_id="k1", attempt=1, frame="", seconds_left=None)
CLAIM = Claim(agent_id="a1", token="0" * 32, connection_id="c1", epoch=1, mode=DeliveryMode.BATCHING, commands=())


def _claim(conn: Connection) -> None:
    claims.claim(conn, "a1")


def _release(conn: Connection) -> None:
    claims.release(conn, CLAIM, Outcome(unsent=[CLAIMED], unsent_cause="given back"))


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


def _confirm_cancel(conn: Connection) -> None:
    conn.execute("update agent_commands set cancel_requested_at = now()")
    settlement.confirm_cancel(conn, ME, "k1", attempt=1)


MOVES: dict[Move, Callable[[Connection], object]] = {
    Move.CLAIM: _claim,
    Move.RELEASE: _release,
    Move.ACKNOWLEDGE: lambda conn: settlement.acknowledge(conn, ME, [("k1", 1)]),
    Move.RETRY: lambda conn: settlement.retry(conn, ME, "k1", "busy", attempt=1),
    Move.COMPLETE: lambda conn: settlement.complete(conn, ME, [("k1", None)]),
    Move.FAIL: lambda conn: settlement.fail(conn, ME, "k1", "no", attempt=1),
    Move.EXPIRE: _expire,
    Move.CANCEL: lambda conn: cancellation.request_cancel(conn, "k1", "operator"),
    Move.CONFIRM_CANCEL: _confirm_cancel,
    Move.DEAD_LETTER: _bury,
    Move.TIME_OUT: _time_out,
}


@pytest.mark.parametrize(("move", "status"), list(product(Move, Status)))
def test_a_move_is_made_only_from_its_source_statuses(conn: Connection, move: Move, status: Status) -> None:
    """Each pair is tried on a real row; the history gets exactly one row, which is not marked as made by hand."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=5)
    put(conn, "k1", status=status, attempt=1, max_attempts=3, epoch=1)

    MOVES[move](conn)

    transition = TRANSITIONS[move]
    moved = status in transition.sources
    expected = transition.target if moved else status
    assert find(conn).status == expected
    history = conn.execute("select from_status, to_status, by_hand from command_history order by history_id").fetchall()
    assert history == [(None, status, False), *([(status, expected, False)] if moved else [])]


def _fail_as_unsendable(conn: Connection) -> None:
    claims.release(conn, CLAIM, Outcome(unsendable=[(CLAIMED, "too large")]))


def _release_superseded(conn: Connection) -> None:
    redelivery.return_superseded(conn, "a1", 2)


def _cancel_unacknowledged(conn: Connection) -> None:
    conn.execute("update agent_commands set cancel_requested_at = now(), ack_deadline = now() - interval '1 s'")
    redelivery.return_unacknowledged(conn, 10)


@pytest.mark.parametrize(
    ("statement", "target"),
    [
        (_fail_as_unsendable, Status.FAILED),
        (_release_superseded, Status.PENDING),
        (_cancel_unacknowledged, Status.CANCELLED),
    ],
)
def test_no_move_of_the_dispatcher_is_recorded_as_made_by_hand(
    conn: Connection, statement: Callable[[Connection], None], target: Status
) -> None:
    """Some moves have a second statement, which the test above does not use."""
    connect_new_agent(conn)
    put(conn, "k1", status="sent", attempt=1, epoch=1)

    statement(conn)

    history = conn.execute("select from_status, to_status, by_hand from command_history order by history_id").fetchall()
    assert history == [(None, "sent", False), ("sent", target, False)]


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
