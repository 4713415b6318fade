"""Claims: which commands a worker takes, until when the agent must answer, and what the worker returns."""

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from dispatcher.commands import claims
from dispatcher.commands.claims import LEASE_SECONDS, Outcome
from dispatcher.commands.delivery import deliver
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.gateway import Posted
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import (
    FUTURE,
    PAST,
    connect,
    connect_new_agent,
    create_agent,
    find,
    put,
    report,
    report_of,
    say,
    statuses,
    waits_for_lock,
)


def seconds_for_the_ack(conn: Connection) -> float:
    """Return how many seconds the agent has for the ack of the only command."""
    row = conn.execute("select extract(epoch from ack_deadline - sent_at)::float8 from agent_commands").fetchone()
    assert row is not None
    seconds: float = row[0]
    return seconds


@pytest.mark.parametrize("mode", DeliveryMode)
def test_an_agent_gets_only_its_own_commands(conn: Connection, mode: DeliveryMode) -> None:
    """The command of another agent is older and has a higher priority."""
    connect_new_agent(conn, mode=mode, window=10)
    create_agent(conn, "a2")
    put(conn, "k-other", "a2", priority=9)
    put(conn, "k1")

    claims.claim(conn, "a1")

    assert statuses(conn) == {"k-other": "pending", "k1": "sent"}


def test_a_command_is_not_claimed_after_its_deliver_by(conn: Connection) -> None:
    """I14: the claim checks `deliver_by` itself."""
    connect_new_agent(conn, window=10)
    put(conn, "k1", deliver_by=PAST)
    gateway = FakeGateway()

    deliver(conn, gateway, "a1", plenty)

    assert gateway.command_ids == []
    assert statuses(conn) == {"k1": "pending"}


def test_a_rejected_agent_gets_no_command_over_its_open_connection(conn: Connection) -> None:
    """Closing a connection may fail, so the claim checks the approval."""
    connect_new_agent(conn, window=10)
    put(conn, "k1")
    conn.execute("update agents set approval = 'rejected'")

    assert deliver(conn, FakeGateway(), "a1", plenty).claimed == 0


def test_one_unacknowledged_command_at_a_time_and_the_next_after_the_ack(conn: Connection) -> None:
    """An agent of the first protocol has a window of one."""
    connect_new_agent(conn)
    for number in range(3):
        put(conn, f"k{number}")
    gateway = FakeGateway()

    deliver(conn, gateway, "a1", plenty)
    before_the_ack = list(gateway.command_ids)
    say(conn, "ack", commandId="k0")
    deliver(conn, gateway, "a1", plenty)

    assert before_the_ack == ["k0"]
    assert gateway.command_ids == ["k0", "k1"]


@pytest.mark.parametrize(("attempts", "expected"), [(0, 20), (1, 40), (3, 160), (9, 300)])
def test_each_attempt_gives_the_agent_longer_for_its_ack(conn: Connection, attempts: int, expected: float) -> None:
    """20 s, doubled with each attempt up to 5 minutes, with 10 % jitter."""
    connect_new_agent(conn, window=10)
    put(conn, "k1", attempt=attempts, max_attempts=20)

    deliver(conn, FakeGateway(), "a1", plenty)

    assert 0.89 * expected < seconds_for_the_ack(conn) < 1.11 * expected


def test_an_agent_that_never_acknowledges_has_the_execution_timeout_for_its_answer(conn: Connection) -> None:
    """Its first message about a command is the outcome."""
    connect_new_agent(conn, mode=DeliveryMode.UNACKNOWLEDGED)
    put(conn, "k1", execution_timeout=3000)

    deliver(conn, FakeGateway(), "a1", plenty)

    assert seconds_for_the_ack(conn) == pytest.approx(3000, abs=1)


@pytest.mark.parametrize("mode", DeliveryMode)
@pytest.mark.parametrize("attempts", [0, 5])
def test_a_claim_that_was_never_posted_returns_with_its_lease(
    conn: Connection, mode: DeliveryMode, attempts: int
) -> None:
    """F2: the worker died before the post; the command does not wait for an execution timeout, or for a fifth ack."""
    connect_new_agent(conn, mode=mode)
    put(conn, "k1", attempt=attempts, execution_timeout=600)

    claims.claim(conn, "a1")

    assert seconds_for_the_ack(conn) < LEASE_SECONDS + 0.1


def test_an_agent_with_one_command_in_flight_needs_no_lease(conn: Connection) -> None:
    """I5: the command in flight keeps every other worker out, before and after the post."""
    connect_new_agent(conn)
    for number in range(2):
        put(conn, f"k{number}")

    first = claims.claim(conn, "a1")
    second = claims.claim(conn, "a1")

    assert first is not None
    assert second is None
    assert conn.execute("select lease_token from agents").fetchone() == (None,)
    assert claims.is_held(conn, first)


def test_a_slow_worker_does_not_change_a_later_claim(conn: Connection) -> None:
    """The agent reconnected and another worker claimed: the lease and the attempt of the other worker do not change."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1")
    old = claims.claim(conn, "a1")
    connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING, window=10)
    new = claims.claim(conn, "a1")
    assert old is not None
    assert new is not None

    claims.release(
        conn, old, Outcome(posted=Posted.GONE, unsent=old.commands, unsent_cause="too slow"), look_again=False
    )

    lease = conn.execute("select lease_token from agents").fetchone()
    command = find(conn)
    assert lease == (UUID(new.token),)
    assert command.status == "sent"
    assert command.attempt == 2


@pytest.mark.parametrize("status", ["sent", "acknowledged"])
def test_a_late_413_of_an_older_attempt_does_not_change_the_newer_one(conn: Connection, status: str) -> None:
    """I7: the 413 of a slow worker comes after another worker has delivered the command."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1")
    old = claims.claim(conn, "a1")
    connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING, window=10)
    claims.claim(conn, "a1")
    if status == "acknowledged":
        report(conn, report_of("ack", attempt=2), connection_id="c2")
    assert old is not None

    claims.release(conn, old, Outcome(unsendable=[(old.commands[0], "too large")]), look_again=False)

    assert statuses(conn) == {"k1": status}


def test_an_acknowledged_command_is_not_failed_as_unsendable(conn: Connection) -> None:
    """I6: the ack proves that the agent has the command."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1")
    claim = claims.claim(conn, "a1")
    report(conn, report_of("ack"))
    assert claim is not None

    claims.release(conn, claim, Outcome(unsendable=[(claim.commands[0], "too large")]), look_again=False)

    assert statuses(conn) == {"k1": "acknowledged"}


def test_a_claim_takes_no_more_than_the_window_has_left(conn: Connection) -> None:
    """I5: two of three places are taken, so one of four waiting commands is claimed."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=3)
    for number in range(2):
        put(conn, f"sent-{number}", status="sent", attempt=1)
    for number in range(4):
        put(conn, f"waiting-{number}")

    claim = claims.claim(conn, "a1")

    assert claim is not None
    assert [command.command_id for command in claim.commands] == ["waiting-0"]


def test_a_claim_skips_commands_that_are_overdue_or_not_yet_due(conn: Connection) -> None:
    """I14: a third command is due and is delivered; these two are not."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "late")
    put(conn, "early", not_before=FUTURE)
    put(conn, "due")
    conn.execute("update agent_commands set deliver_by = now() where command_id = 'late'")

    claims.claim(conn, "a1")

    assert statuses(conn) == {"late": "pending", "early": "pending", "due": "sent"}


@pytest.mark.parametrize("mode", DeliveryMode)
def test_a_release_that_is_repeated_does_not_touch_the_next_claim(conn: Connection, mode: DeliveryMode) -> None:
    """I3: the answer to the first release was lost, and the attempt that it gave back is used again by now."""
    connect_new_agent(conn, mode=mode)
    put(conn, "k1")
    claim = claims.claim(conn, "a1")
    assert claim is not None
    outcome = Outcome(unsent=claim.commands, unsent_cause="ran out of time")
    claims.release(conn, claim, outcome, look_again=False)
    deliver(conn, FakeGateway(), "a1", plenty)

    claims.release(conn, claim, outcome, look_again=False)

    assert (find(conn).status, find(conn).attempt) == ("sent", 1)


def test_a_release_that_is_repeated_gives_its_attempt_back_once(conn: Connection) -> None:
    """I3: the answer to the first release was lost, and the command still waits."""
    connect_new_agent(conn)
    put(conn, "k1", attempt=3)
    claim = claims.claim(conn, "a1")
    assert claim is not None
    outcome = Outcome(posted=Posted.REFUSED, unsent=claim.commands, unsent_cause="refused")

    for _ in range(3):
        claims.release(conn, claim, outcome, look_again=False)

    assert (find(conn).status, find(conn).attempt) == ("pending", 3)


@pytest.mark.parametrize("attempts", [0, 3])
def test_what_was_not_posted_costs_no_attempt_although_the_agent_reconnected(conn: Connection, attempts: int) -> None:
    """F9, I3: the reconnection has returned the command to the queue; then the worker learns that nobody got it."""
    connect_new_agent(conn)
    put(conn, "k1", attempt=attempts)
    claim = claims.claim(conn, "a1")
    connect(conn, connection_id="c2")
    assert claim is not None

    claims.release(
        conn, claim, Outcome(posted=Posted.GONE, unsent=claim.commands, unsent_cause="gone"), look_again=False
    )

    assert (find(conn).status, find(conn).attempt) == ("pending", attempts)


def test_a_release_and_a_reconnection_do_not_wait_for_each_other(conn: Connection, database_url: str) -> None:
    """Both lock the agent before its commands; in another order one of them would be ended as a deadlock."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1")
    claim = claims.claim(conn, "a1")
    assert claim is not None
    with (
        open_connection(database_url) as first,
        open_connection(database_url) as second,
        ThreadPoolExecutor(1) as pool,
    ):
        with first.transaction():
            first.execute("select from agents for no key update")
            release = pool.submit(
                claims.release, second, claim, Outcome(unsent=claim.commands, unsent_cause="x"), look_again=False
            )
            while not waits_for_lock(conn, second):
                assert not release.done()
                time.sleep(0.01)

            free = conn.execute("select command_id from agent_commands for update skip locked").fetchall()
        release.result()

    assert free == [("k1",)]
