"""Faults between claim, post and settlement, one at a time."""

import json
import time
from collections.abc import Callable

import psycopg
import pytest

from dispatcher.commands import cancellation, claims, deadlines, delivery, redelivery
from dispatcher.commands.claims import Outcome
from dispatcher.commands.delivery import deliver
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.gateway import Posted
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put, receive, statuses


@pytest.fixture(autouse=True)
def _agent(conn: Connection) -> None:
    """An agent with a window of ten is connected."""
    provide(conn)
    connect(conn, window=10)


def reconnecting(database_url: str) -> Callable[[str], None]:
    """Let the agent reconnect as c2 while a frame is on its way to c1, once."""
    done: list[bool] = []

    def reconnect(_frame: str) -> None:
        if not done:
            done.append(True)
            with open_connection(database_url) as other:
                connect(other, connection_id="c2", window=10)

    return reconnect


def test_no_transaction_is_open_while_a_post_is_under_way(conn: Connection, database_url: str) -> None:
    """I13: whoever looks meanwhile sees the claim, committed."""
    put(conn, "k1")
    seen: list[object] = []

    def look(_frame: str) -> None:
        with open_connection(database_url) as other:
            seen.append((conn.info.transaction_status, statuses(other)))

    deliver(conn, FakeGateway(before_post=look), "a1", plenty)

    assert seen == [(psycopg.pq.TransactionStatus.IDLE, {"k1": "sent"})]


def test_a_gone_connection_is_forgotten_and_not_the_one_that_replaced_it_meanwhile(
    conn: Connection, database_url: str
) -> None:
    """The 410 is about the connection that was tried."""
    put(conn, "k1")
    gateway = FakeGateway(outcomes=[Posted.GONE], before_post=reconnecting(database_url))

    deliver(conn, gateway, "a1", plenty)

    route = conn.execute("select connection_id from agents").fetchone()
    assert (route, [connection for connection, _ in gateway.frames]) == (("c2",), ["c2"])
    assert conn.execute("select connection_id from agent_connections").fetchall() == [("c2",)]


def test_a_slow_holder_settles_nothing_that_was_claimed_after_it(conn: Connection) -> None:
    """The agent reconnected and another one claimed: neither that attempt nor that lease is touched."""
    put(conn, "k1")
    old = claims.claim(conn, "a1")
    connect(conn, connection_id="c2", window=10)
    new = claims.claim(conn, "a1")
    assert old is not None
    assert new is not None

    claims.release(conn, old, Outcome(unsent=old.commands, unsent_cause="too slow", gone=True))

    agent = conn.execute("select connection_id, lease_token::text from agents").fetchone()
    command = conn.execute("select status, attempt, epoch from agent_commands").fetchone()
    assert (agent, command) == (("c2", new.token), ("sent", 2, 2))


def test_a_holder_whose_agent_reconnects_posts_nothing_more(conn: Connection, database_url: str) -> None:
    """I14: what it holds is pending again, and may be cancelled before it gets to it."""
    put(conn, "k1")
    put(conn, "k2")

    def reconnect_and_cancel(_frame: str) -> None:
        gateway.before_post = None
        with open_connection(database_url) as other:
            connect(other, connection_id="c2", window=10)
            cancellation.request_cancel(other, "k2", "ann")

    gateway = FakeGateway(before_post=reconnect_and_cancel)

    deliver(conn, gateway, "a1", plenty)

    posted = [(connection, json.loads(frame)["payload"]["commandId"]) for connection, frame in gateway.frames]
    assert posted == [("c1", "k1"), ("c2", "k1")]
    assert statuses(conn) == {"k1": "sent", "k2": "cancelled"}


def test_what_can_never_be_sent_fails_and_holds_nobody_back(conn: Connection) -> None:
    """A 413 is about one message."""
    put(conn, "k1")
    put(conn, "k2")
    gateway = FakeGateway(outcomes=[Posted.TOO_LARGE])

    deliver(conn, gateway, "a1", plenty)

    assert (statuses(conn), gateway.command_ids) == ({"k1": "failed", "k2": "sent"}, ["k2"])


def test_nothing_overtakes_a_command_whose_post_got_no_answer(conn: Connection) -> None:
    """It may have arrived and waits for its ack; those behind it go back, and wait with it."""
    put(conn, "k1")
    put(conn, "k2")
    gateway = FakeGateway(outcomes=[Posted.UNKNOWN])

    deliver(conn, gateway, "a1", plenty)
    again = deliver(conn, gateway, "a1", plenty).claimed

    assert (statuses(conn), again, gateway.command_ids) == ({"k1": "sent", "k2": "pending"}, 0, ["k1"])


def test_a_command_whose_time_is_over_is_not_claimed_before_any_sweep(conn: Connection) -> None:
    """I14: the claim looks at deliver_by itself."""
    put(conn, "k1", deliver_by="2020-01-01")
    gateway = FakeGateway()

    deliver(conn, gateway, "a1", plenty)

    assert (gateway.command_ids, statuses(conn)) == ([], {"k1": "pending"})


def test_a_command_whose_time_runs_out_behind_a_slow_post_is_not_posted(conn: Connection) -> None:
    """I14: also where it was claimed in time; and the sweep ends it."""
    put(conn, "k1")
    put(conn, "k2")
    conn.execute("update agent_commands set deliver_by = clock_timestamp() + interval '0.2 s' where command_id = 'k2'")
    gateway = FakeGateway(before_post=lambda _frame: time.sleep(0.3))

    deliver(conn, gateway, "a1", plenty)
    swept = sweep(conn, gateway, deadline=plenty)

    assert (gateway.command_ids, swept.expired, statuses(conn)) == (["k1"], 1, {"k1": "sent", "k2": "expired"})


def test_a_holder_stops_posting_before_its_lease_ends(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else two would post to one agent; what it does not get to is pending again."""
    monkeypatch.setattr(delivery, "POSTING_SECONDS", delivery.POST_SECONDS + delivery.RELEASE_SECONDS + 0.1)
    put(conn, "k1")
    put(conn, "k2")
    gateway = FakeGateway(before_post=lambda _frame: time.sleep(0.2))
    begun = time.monotonic()
    claim = claims.claim(conn, "a1")
    assert claim is not None

    sent, settled = delivery._send(conn, gateway, claim, begun, plenty)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    assert (sent, [command.command_id for command in settled.unsent]) == (1, ["k2"])


def test_nothing_is_claimed_when_no_time_is_left_to_post_it(conn: Connection) -> None:
    """A function that is about to be killed spends no attempt."""
    put(conn, "k1")

    done = deliver(conn, FakeGateway(), "a1", lambda: delivery.POST_SECONDS)

    assert (done.claimed, statuses(conn)) == (0, {"k1": "pending"})


def test_a_function_killed_between_claim_and_post_costs_an_attempt_and_a_deadline(conn: Connection) -> None:
    """I3: the claim counted; when lease and deadline are over, the sweep sends it again."""
    put(conn, "k1")
    claims.claim(conn, "a1")

    held = sweep(conn, FakeGateway(), deadline=plenty).sent
    conn.execute("update agents set lease_expires_at = now()")
    conn.execute("update agent_commands set ack_deadline = now()")
    gateway = FakeGateway()
    sweep(conn, gateway, deadline=plenty)

    attempt = conn.execute("select attempt from agent_commands").fetchone()
    assert (held, gateway.command_ids, attempt) == (0, ["k1"], (2,))


def test_two_sweepers_at_once_send_each_command_once(conn: Connection, database_url: str) -> None:
    """R13, R24: the second one starts while the first one posts."""
    for number in range(5):
        put(conn, f"k{number}")
    second: list[int] = []

    def sweep_too(_frame: str) -> None:
        with open_connection(database_url) as other:
            second.append(sweep(other, gateway, deadline=plenty).loaded)

    gateway = FakeGateway(before_post=sweep_too)

    sweep(conn, gateway, deadline=plenty)

    assert (gateway.command_ids, sum(second)) == ([f"k{number}" for number in range(5)], 0)


def test_a_rejected_agent_gets_nothing_more_over_the_socket_that_it_still_has(conn: Connection) -> None:
    """Closing a socket is best effort; the claim looks at the approval."""
    put(conn, "k1")
    conn.execute("update agents set approval = 'rejected'")

    assert deliver(conn, FakeGateway(), "a1", plenty).claimed == 0


@pytest.mark.parametrize(
    ("work", "status"),
    [(deadlines.expire, "pending"), (redelivery.return_unacknowledged, "sent"), (deadlines.time_out, "acknowledged")],
    ids=["expire", "return_unacknowledged", "time_out"],
)
def test_a_clocks_pass_is_bounded_takes_the_longest_overdue_first_and_waits_for_no_lock(
    conn: Connection, database_url: str, work: Callable[[Connection, int], int], status: str
) -> None:
    """Someone works on one of the rows: the pass goes around it."""
    for number in (3, 1, 2, 4):
        past = f"2020-01-0{number}"
        put(conn, f"k{number}", status=status, deliver_by=past, ack_deadline=past, execution_deadline=past, attempt=1)
    conn.execute("set lock_timeout = '300ms'")

    with open_connection(database_url) as other, other.transaction():
        other.execute("select from agent_commands where command_id = 'k1' for update")
        moved = work(conn, 2)

    rows = conn.execute("select command_id from agent_commands where status = %s order by 1", (status,)).fetchall()
    assert (moved, rows) == (2, [("k1",), ("k4",)])


def test_a_retryable_failure_of_a_command_that_is_to_be_cancelled_ends_it(conn: Connection) -> None:
    """I14: it is not sent once more."""
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    conn.execute("update agent_commands set cancel_requested_at = now()")
    report = {"kind": "failed", "commandId": "k1", "attempt": 1, "error": "busy", "retryable": True}

    receive(conn, "a1", "c1", json.dumps({"type": "reports", "reports": [report]}))

    assert statuses(conn) == {"k1": "failed"}
