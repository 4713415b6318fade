"""The SQL and the table of transitions agree, over every move and every status."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from dispatcher.commands import cancellation, claims, deadlines, redelivery, settlement
from dispatcher.commands.claims import Claim, Outcome
from dispatcher.commands.lifecycle import TRANSITIONS, Move, Status
from dispatcher.commands.settlement import Reporter
from dispatcher.platform.database import Connection
from dispatcher.protocol.frames import ClaimedCommand
from dispatcher.protocol.handshake import DeliveryMode
from local.tools import generate
from tests.rows import connect, provide, put

ME = Reporter(agent_id="a1", epoch=1)


def _claim(conn: Connection) -> None:
    claims.claim(conn, "a1")


def _release(conn: Connection) -> None:
    claim = Claim(agent_id="a1", token="0" * 32, connection_id="c1", epoch=1, mode=DeliveryMode.BATCHING, commands=())
    unsent = ClaimedCommand(command_id="k1", attempt=1, frame="", seconds_left=None)
    claims.release(conn, claim, Outcome(unsent=[unsent], unsent_cause="given back"))


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
    Move.BURY: _bury,
    Move.TIME_OUT: _time_out,
}


@pytest.mark.parametrize(("move", "status"), list(product(Move, Status)))
def test_a_move_is_made_from_its_sources_and_from_nowhere_else(conn: Connection, move: Move, status: Status) -> None:
    """Each of all pairs, on a real row; and the history has exactly the row that belongs to it."""
    provide(conn)
    connect(conn, mode=DeliveryMode.BATCHING, window=5)
    put(conn, "k1", status=status, attempt=1, max_attempts=3, epoch=1)

    MOVES[move](conn)

    transition = TRANSITIONS[move]
    moved = status in transition.sources
    expected = transition.target if moved else status
    assert conn.execute("select status from agent_commands").fetchone() == (expected,)
    history = conn.execute("select from_status, to_status from command_history order by history_id").fetchall()
    assert history == [(None, status), *([(status, expected)] if moved else [])]


@pytest.mark.parametrize("path", generate.files())
def test_what_is_generated_is_up_to_date(path: Path) -> None:
    """`make generated` writes it."""
    assert path.read_text() == generate.files()[path]
