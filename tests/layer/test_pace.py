"""How long things may take: the clocks of attempts, of executions and of pauses, and the sizes that a message may have."""

import json
from datetime import timedelta
from typing import Any

import pytest

from dispatcher.commands import claims
from dispatcher.commands.delivery import backoff, deliver
from dispatcher.errors import InvalidRequest
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Posted
from dispatcher.protocol.frames import MESSAGE_BYTES
from dispatcher.protocol.handshake import DeliveryMode, Handshake
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put, receive, statuses


@pytest.fixture(autouse=True)
def _agent(conn: Connection) -> None:
    """An agent is connected."""
    provide(conn)
    connect(conn, window=10)


def seconds(conn: Connection, until: str) -> float:
    """Return how many seconds there are until a point in time of the only command."""
    row = conn.execute(f"select extract(epoch from {until} - clock_timestamp())::float8 from agent_commands".encode())
    return float((row.fetchone() or (0.0,))[0])


@pytest.mark.parametrize(("attempt", "most"), [(1, 1), (2, 2), (4, 8), (7, 60), (1000, 60)])
def test_the_pause_before_the_next_try_is_doubled_up_to_a_minute_and_half_of_it_is_chance(
    attempt: int, most: float
) -> None:
    """Chance spreads what was refused together; without a bound, the thousandth try would be in a million years."""
    pauses = [backoff(attempt) for _ in range(200)]

    assert most / 2 <= min(pauses) < max(pauses) <= most
    assert max(pauses) - min(pauses) > most / 4


@pytest.mark.parametrize(("attempts", "expected"), [(0, 20), (1, 40), (3, 160), (9, 300)])
def test_each_attempt_gives_the_agent_longer_for_its_ack(conn: Connection, attempts: int, expected: float) -> None:
    """20 s, doubled each time up to 5 min, of which a tenth is chance."""
    put(conn, "k1", attempt=attempts, max_attempts=20)

    claims.claim(conn, "a1")

    assert 0.85 * expected < seconds(conn, "ack_deadline") < 1.15 * expected


def test_a_silent_agent_has_the_time_of_the_execution_for_its_answer(conn: Connection) -> None:
    """It never acknowledges: its first word is the outcome."""
    connect(conn, connection_id="c2", mode=DeliveryMode.UNACKNOWLEDGED)
    put(conn, "k1", execution_timeout=3000)

    claims.claim(conn, "a1")

    assert 2990 < seconds(conn, "ack_deadline") <= 3000


def test_the_time_of_an_execution_begins_with_the_ack_and_again_with_each_progress(conn: Connection) -> None:
    """Not with the acceptance, which may have been days ago."""
    put(conn, "k1", created_at="2020-01-01", execution_timeout=100)
    deliver(conn, FakeGateway(), "a1", plenty)

    receive(conn, "a1", "c1", '{"type": "ack", "payload": {"commandId": "k1"}}')
    after_ack = seconds(conn, "execution_deadline")
    conn.execute("update agent_commands set execution_deadline = now() + interval '1 s'")
    progress = {"kind": "progress", "commandId": "k1", "progress": 1}
    receive(conn, "a1", "c1", json.dumps({"type": "reports", "reports": [progress]}))

    assert 95 < after_ack <= 100
    assert 95 < seconds(conn, "execution_deadline") <= 100


def test_each_step_of_a_command_has_its_time_in_order(conn: Connection) -> None:
    """I12: by the database's clock alone."""
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    receive(conn, "a1", "c1", '{"type": "ack", "payload": {"commandId": "k1"}}')
    receive(conn, "a1", "c1", '{"type": "complete", "payload": {"commandId": "k1"}}')

    row = conn.execute("select created_at, sent_at, acknowledged_at, completed_at from agent_commands").fetchone()

    assert row is not None
    assert None not in row
    assert list(row) == sorted(row)
    assert row[-1] - row[0] < timedelta(seconds=30)


def test_a_late_result_leaves_nothing_of_the_time_out(conn: Connection) -> None:
    """I6: it is completed, and no error stands beside that."""
    put(conn, "k1", status="timed_out", attempt=1, error_message="no result within 600 seconds of the ack")

    receive(conn, "a1", "c1", '{"type": "complete", "payload": {"commandId": "k1"}}')

    assert conn.execute("select status, error_message from agent_commands").fetchone() == ("completed", None)


@pytest.mark.parametrize("dialect", [DeliveryMode.ACKNOWLEDGING, DeliveryMode.BATCHING])
def test_one_refused_post_is_one_post(conn: Connection, dialect: DeliveryMode) -> None:
    """429, I3: the same call does not try again at once, until the attempts are used up."""
    connect(conn, connection_id="c2", mode=dialect, window=10)
    put(conn, "k1")
    put(conn, "k2")
    posts: list[str] = []
    gateway = FakeGateway(outcomes=[Posted.REFUSED] * 5, before_post=posts.append)

    done = deliver(conn, gateway, "a1", plenty)

    attempts = conn.execute("select attempt, status from agent_commands order by seq").fetchall()
    assert (len(posts), done.sent, attempts) == (1, 0, [(1, "pending"), (1, "pending")])


def text_of(bytes_most: int) -> str:
    """Make a payload of characters that take two bytes each."""
    return json.dumps("é" * (bytes_most // 2), ensure_ascii=False)


def test_a_row_that_no_frame_can_carry_is_failed_without_a_post(conn: Connection) -> None:
    """1009: bytes count, and not characters."""
    put(conn, "k1", payload=text_of(MESSAGE_BYTES + 2))
    put(conn, "k2")
    gateway = FakeGateway()

    deliver(conn, gateway, "a1", plenty)

    assert (gateway.command_ids, statuses(conn)) == (["k2"], {"k1": "failed", "k2": "sent"})


def test_a_batch_is_split_by_its_bytes(conn: Connection) -> None:
    """1009: two of these are too large together, though they have few characters."""
    connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING, window=10)
    for number in range(2):
        put(conn, f"k{number}", payload=text_of(MESSAGE_BYTES * 2 // 3))
    gateway = FakeGateway()

    deliver(conn, gateway, "a1", plenty)

    assert [len(json.loads(text)["commands"]) for _, text in gateway.frames] == [1, 1]


@pytest.mark.parametrize("query", [{"window": "101"}, {"window": "-1"}, {"window": "9" * 400}])
def test_a_window_beyond_the_bounds_is_refused(query: dict[str, Any]) -> None:
    """I5: an agent asks for at most a hundred at a time."""
    with pytest.raises(InvalidRequest):
        Handshake.from_query({"protocol": "2", **query})
