"""Delivery: one post after another under the agent's lease, and what each answer of the gateway means."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import psycopg
import pytest

from dispatcher.access.roles import Operator, Role
from dispatcher.commands import cancellation, claims, command_records, delivery
from dispatcher.commands.claims import FIRST_ACK_SECONDS, LEASE_SECONDS, Claim
from dispatcher.commands.delivery import Delivered, deliver
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.gateway import Posted
from dispatcher.protocol.frames import MESSAGE_BYTES
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, connect_new_agent, create_agent, current_connection, find, put, statuses

ANN = Operator(username="ann", role=Role.SENDER)
LARGE = json.dumps("x" * (MESSAGE_BYTES // 2))
"""A payload that leaves no room for a second one of its size in a message."""


def reconnecting(database_url: str) -> Callable[[str], None]:
    """Let the agent reconnect as c2 while the first frame is on its way to c1."""
    done: list[bool] = []

    def reconnect(_frame: str) -> None:
        if not done:
            done.append(True)
            with open_connection(database_url) as other:
                connect(other, connection_id="c2")

    return reconnect


def use_clock(monkeypatch: pytest.MonkeyPatch, monotonic: Callable[[], float]) -> None:
    """Let claims and deliveries read another clock."""
    for module in (claims, delivery):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=monotonic))


def test_a_row_of_plain_sql_is_delivered_once_its_agent_connects(conn: Connection) -> None:
    """All other columns are NULL or have their defaults."""
    create_agent(conn)
    conn.execute(
        "insert into agent_commands (command_id, agent_id, action, payload) values ('k1', 'a1', 'stop_session', '{\"n\": 1}')"
    )
    gateway = FakeGateway()

    assert deliver(conn, gateway, "a1", plenty).sent == 0
    connect(conn)
    assert deliver(conn, gateway, "a1", plenty).sent == 1

    assert gateway.connection_ids == ["c1"]
    assert gateway.messages == [
        {"type": "command", "payload": {"commandId": "k1", "action": "stop_session", "payload": {"n": 1}}}
    ]
    assert statuses(conn) == {"k1": "sent"}


@pytest.mark.parametrize(
    ("posted", "status", "connected"),
    [
        (Posted.GONE, "pending", False),
        (Posted.REFUSED, "pending", True),
        (Posted.TOO_LARGE, "failed", True),
        (Posted.UNKNOWN, "sent", True),
        (Posted.TAKEN, "sent", True),
    ],
)
def test_each_outcome_of_a_post_has_its_own_effect(
    conn: Connection, posted: Posted, status: str, *, connected: bool
) -> None:
    """410 forgets the connection, 413 fails the command, 429 and 5xx wait, a timeout waits for the ack."""
    connect_new_agent(conn)
    put(conn, "k1")

    deliver(conn, FakeGateway(outcomes=[posted]), "a1", plenty)

    lease = conn.execute("select lease_token from agents").fetchone()
    assert statuses(conn) == {"k1": status}
    assert lease == (None,)
    assert (current_connection(conn) is not None) == connected


def test_commands_that_fit_the_window_go_in_one_message_in_order(conn: Connection) -> None:
    """The rest waits for acks."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=32)
    gateway = FakeGateway()
    for number in range(40):
        put(conn, f"k{number}", priority=number // 20)

    deliver(conn, gateway, "a1", plenty)

    (message,) = gateway.messages
    ids = [command["commandId"] for command in message["commands"]]
    assert ids == [f"k{number}" for number in [*range(20, 40), *range(12)]]
    assert message["commands"][0] == {
        "commandId": "k20",
        "attempt": 1,
        "action": "noop",
        "sessionId": None,
        "payload": {},
        "executionTimeoutSeconds": 600,
    }


@pytest.mark.parametrize("character", ["x", "é"])
def test_a_batch_is_split_by_its_bytes(conn: Connection, character: str) -> None:
    """1009: no message has more than 128 KB, for any characters, and no command is lost."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=32)
    for number in range(5):
        put(conn, f"k{number}", payload=json.dumps(character * (50_000 // len(character.encode())), ensure_ascii=False))
    gateway = FakeGateway()

    deliver(conn, gateway, "a1", plenty)

    assert [len(message["commands"]) for message in gateway.messages] == [2, 2, 1]
    assert all(len(text.encode()) <= MESSAGE_BYTES for _, text in gateway.frames)


def test_a_row_that_is_too_large_for_a_frame_fails_without_a_post(conn: Connection) -> None:
    """1009: the limit counts bytes, not characters."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1", payload=json.dumps("é" * (MESSAGE_BYTES // 2), ensure_ascii=False))
    put(conn, "k2")
    gateway = FakeGateway()

    deliver(conn, gateway, "a1", plenty)

    assert gateway.command_ids == ["k2"]
    assert statuses(conn) == {"k1": "failed", "k2": "sent"}


def test_a_throttled_post_pauses_the_whole_queue_and_closes_no_connection(conn: Connection) -> None:
    """No command overtakes the one that was refused."""
    connect_new_agent(conn)
    put(conn, "k1")
    put(conn, "k2")
    gateway = FakeGateway(outcomes=[Posted.REFUSED])

    deliver(conn, gateway, "a1", plenty)
    held = deliver(conn, gateway, "a1", plenty).claimed
    conn.execute("update agents set throttled_until = now()")
    deliver(conn, gateway, "a1", plenty)

    assert held == 0
    assert gateway.command_ids == ["k1"]


@pytest.mark.parametrize("mode", [DeliveryMode.ACKNOWLEDGING, DeliveryMode.BATCHING])
def test_a_refused_post_is_not_repeated_in_the_same_call(conn: Connection, mode: DeliveryMode) -> None:
    """429, I3: what was refused reached nobody and costs no attempt."""
    connect_new_agent(conn, mode=mode, window=10)
    put(conn, "k1")
    put(conn, "k2")
    posts: list[str] = []
    gateway = FakeGateway(outcomes=[Posted.REFUSED] * 5, before_post=posts.append)

    done = deliver(conn, gateway, "a1", plenty)

    attempts = conn.execute("select attempt, status from agent_commands order by seq").fetchall()
    assert len(posts) == 1
    assert done.sent == 0
    assert attempts == [(0, "pending"), (0, "pending")]


def test_a_command_that_can_never_be_sent_fails_and_does_not_delay_others(conn: Connection) -> None:
    """A 413 concerns one message only."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1", payload=LARGE)
    put(conn, "k2", payload=LARGE)
    gateway = FakeGateway(outcomes=[Posted.TOO_LARGE])

    deliver(conn, gateway, "a1", plenty)

    assert statuses(conn) == {"k1": "failed", "k2": "sent"}
    assert gateway.command_ids == ["k2"]


def test_nothing_overtakes_a_command_whose_post_got_no_answer(conn: Connection) -> None:
    """It may have arrived and waits for its ack; the commands behind it return to the queue and wait too."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1", payload=LARGE)
    put(conn, "k2", payload=LARGE)
    gateway = FakeGateway(outcomes=[Posted.UNKNOWN])

    deliver(conn, gateway, "a1", plenty)
    again = deliver(conn, gateway, "a1", plenty).claimed

    assert statuses(conn) == {"k1": "sent", "k2": "pending"}
    assert again == 0
    assert gateway.command_ids == ["k1"]


def test_no_transaction_is_open_while_a_post_is_under_way(conn: Connection, database_url: str) -> None:
    """I13: other connections see the committed claim meanwhile."""
    connect_new_agent(conn)
    put(conn, "k1")
    seen: list[object] = []

    def look(_frame: str) -> None:
        with open_connection(database_url) as other:
            seen.append((conn.info.transaction_status, statuses(other)))

    deliver(conn, FakeGateway(before_post=look), "a1", plenty)

    assert seen == [(psycopg.pq.TransactionStatus.IDLE, {"k1": "sent"})]


def test_a_gone_connection_is_forgotten_and_its_replacement_is_not(conn: Connection, database_url: str) -> None:
    """The 410 is about the connection that was tried."""
    connect_new_agent(conn)
    put(conn, "k1")
    gateway = FakeGateway(outcomes=[Posted.GONE], before_post=reconnecting(database_url))

    deliver(conn, gateway, "a1", plenty)
    current = current_connection(conn)
    deliver(conn, gateway, "a1", plenty)  # as the flush of the new connection does

    still_open = conn.execute("select connection_id from agent_connections where closed_at is null").fetchall()
    assert current == "c2"
    assert gateway.connection_ids == ["c2"]
    assert still_open == [("c2",)]


def test_a_worker_whose_agent_reconnects_posts_nothing_more(conn: Connection, database_url: str) -> None:
    """I14: the rest of its claim is pending again, and may be cancelled meanwhile."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1", payload=LARGE)
    put(conn, "k2", payload=LARGE)

    def reconnect_and_cancel(_frame: str) -> None:
        gateway.before_post = None
        with open_connection(database_url) as other:
            connect(other, connection_id="c2", mode=DeliveryMode.BATCHING, window=10)
            cancellation.request_cancel(other, "k2", ANN)

    gateway = FakeGateway(before_post=reconnect_and_cancel)

    deliver(conn, gateway, "a1", plenty)

    posted = [
        (connection_id, command["commandId"])
        for connection_id, frame in gateway.frames
        for command in json.loads(frame).get("commands", ())  # a request to stop k2 may be among the frames
    ]
    assert posted == [("c1", "k1"), ("c2", "k1")]
    assert statuses(conn) == {"k1": "sent", "k2": "cancelled"}


def test_a_command_that_expires_during_a_slow_post_is_not_posted(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I14: it was claimed in time; the next sweep expires it."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1", payload=LARGE)
    put(conn, "k2", payload=LARGE)
    conn.execute("update agent_commands set deliver_by = clock_timestamp() + interval '7 s' where command_id = 'k2'")
    clock = SimpleNamespace(now=0.0)
    use_clock(monkeypatch, lambda: clock.now)

    def take_eight_seconds(_frame: str) -> None:
        clock.now += 8
        conn.execute("update agent_commands set deliver_by = now() where command_id = 'k2'")

    gateway = FakeGateway(before_post=take_eight_seconds)

    deliver(conn, gateway, "a1", plenty)
    swept = sweep(conn, gateway, deadline=plenty)

    assert gateway.command_ids == ["k1"]
    assert swept.expired == 1
    assert statuses(conn) == {"k1": "sent", "k2": "expired"}


def test_a_worker_stops_posting_before_its_lease_ends(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise two workers would post to one agent; what was not posted is claimed again, with the same attempt."""
    connect_new_agent(conn, mode=DeliveryMode.UNACKNOWLEDGED, window=10)
    put(conn, "k1", session_id="s1")
    put(conn, "k2", session_id="s2")
    clock = SimpleNamespace(now=0.0)
    use_clock(monkeypatch, lambda: clock.now)
    attempts: list[dict[str, int]] = []

    def take_long(_frame: str) -> None:
        attempts.append(dict(conn.execute("select command_id, attempt from agent_commands").fetchall()))
        clock.now += delivery.POSTING_SECONDS

    gateway = FakeGateway(before_post=take_long)

    deliver(conn, gateway, "a1", plenty)

    assert gateway.command_ids == ["k1", "k2"]
    assert attempts == [{"k1": 1, "k2": 0}, {"k1": 1, "k2": 1}]


@pytest.mark.parametrize("seconds", [LEASE_SECONDS, FIRST_ACK_SECONDS])
def test_a_command_that_was_claimed_too_long_ago_is_not_posted(
    conn: Connection, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """I3: the function was frozen; meanwhile another worker may have posted the command.  The attempt did not count."""
    connect_new_agent(conn)
    put(conn, "k1")
    stood_still = 0
    claim = claims.claim
    use_clock(monkeypatch, lambda: time.monotonic() + stood_still)

    def claim_and_stand_still(conn: Connection, agent_id: str) -> Claim | None:
        nonlocal stood_still
        claimed = claim(conn, agent_id)
        stood_still = stood_still or seconds
        return claimed

    monkeypatch.setattr(claims, "claim", claim_and_stand_still)
    posted: list[int] = []
    gateway = FakeGateway(before_post=lambda _frame: posted.append(find(conn).attempt))

    deliver(conn, gateway, "a1", plenty)

    history = [(entry.to_status, entry.attempt) for entry in command_records.history(conn, "k1", None)]
    assert posted == [1]
    assert history == [("pending", 0), ("sent", 1), ("pending", 0), ("sent", 1)]


def test_nothing_is_claimed_when_no_time_is_left_to_post_it(conn: Connection) -> None:
    """A function that is about to end uses no attempt."""
    connect_new_agent(conn)
    put(conn, "k1")

    done = deliver(conn, FakeGateway(), "a1", lambda: delivery.POST_SECONDS)

    assert done.claimed == 0
    assert statuses(conn) == {"k1": "pending"}


def test_a_command_submitted_while_the_lease_is_held_is_delivered_by_the_holder(
    conn: Connection, database_url: str
) -> None:
    """No lost wake-up: a worker that finds the lease held relies on its holder."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1")
    refused: list[object] = []

    def submit_meanwhile(_frame: str) -> None:
        gateway.before_post = None
        with open_connection(database_url) as other:
            put(other, "k2")
            refused.append(claims.claim(other, "a1"))

    gateway = FakeGateway(before_post=submit_meanwhile)

    deliver(conn, gateway, "a1", plenty)

    assert refused == [None]
    assert [message["commands"][0]["commandId"] for message in gateway.messages] == ["k1", "k2"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(DeliveryMode.ACKNOWLEDGING, 1), (DeliveryMode.UNACKNOWLEDGED, 60), (DeliveryMode.BATCHING, 7)],
)
def test_many_deliverers_at_once_send_each_command_once_and_in_order(
    conn: Connection, database_url: str, mode: DeliveryMode, expected: int
) -> None:
    """Ten threads, one agent: as many commands as may be in flight at once."""
    connect_new_agent(conn, mode=mode, window=7 if mode is DeliveryMode.BATCHING else 1)
    for number in range(60):
        put(conn, f"k{number:02}", session_id=f"s{number:02}")
    gateway = FakeGateway()
    barrier = threading.Barrier(10)

    def work(_number: int) -> int:
        with open_connection(database_url) as other:
            barrier.wait()
            return deliver(other, gateway, "a1", plenty).sent

    with ThreadPoolExecutor(10) as pool:
        sent = list(pool.map(work, range(10)))

    assert sum(sent) == expected
    assert gateway.command_ids == [f"k{number:02}" for number in range(expected)]


def test_delivery_does_not_retry_a_locked_row_for_ever(conn: Connection, database_url: str) -> None:
    """The command is due and cannot be claimed; delivery ends after two empty claims."""
    connect_new_agent(conn)
    put(conn, "k1")
    looks: list[float] = []

    def time_left() -> float:
        looks.append(60.0)
        assert len(looks) < 100, "delivery does not end"
        return 60.0

    with open_connection(database_url) as other, other.transaction():
        other.execute("select from agent_commands where command_id = 'k1' for update")
        delivered = deliver(conn, FakeGateway(), "a1", time_left)

    assert delivered == Delivered(sent=0, claimed=0)
