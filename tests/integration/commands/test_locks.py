"""Locks: nobody waits for somebody else, and order holds while a row is locked."""

import contextlib
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest

from dispatcher.access.roles import Operator, Role
from dispatcher.commands import claims, reports, submission
from dispatcher.commands.claims import Outcome
from dispatcher.commands.delivery import deliver
from dispatcher.commands.submission import NewCommand
from dispatcher.commands.sweep import sweep
from dispatcher.platform import database
from dispatcher.platform.database import Connection, open_connection
from dispatcher.protocol.handshake import DeliveryMode
from dispatcher.protocol.said import Said
from dispatcher.sessions.session_records import SessionStates
from tests.fakes import FakeGateway, plenty
from tests.rows import connect_new_agent, find, put, receive, report, report_of, say, statuses, waits_for_lock

OPERATOR = Operator(username="ann", role=Role.ADMIN)
SHORT = 2.0
"""Less than the lock_timeout of the role, in seconds, and much more than 250 ms."""


@contextlib.contextmanager
def locked(database_url: str, table: str, row: str) -> Generator[Connection]:
    """Lock a row in another session."""
    with open_connection(database_url) as other, other.transaction():
        other.execute(f"select from {table} where {row} for update".encode())
        yield other


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long the work takes, in seconds."""
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


@pytest.mark.parametrize("mode", [DeliveryMode.ACKNOWLEDGING, DeliveryMode.BATCHING])
def test_nothing_overtakes_a_command_whose_row_is_locked(
    conn: Connection, database_url: str, mode: DeliveryMode
) -> None:
    """F8: the first of three is locked by somebody; then all go in order."""
    connect_new_agent(conn, mode=mode, window=3)
    for number in range(3):
        put(conn, f"k{number}")
    gateway = FakeGateway()

    with locked(database_url, "agent_commands", "command_id = 'k0'"):
        deliver(conn, gateway, "a1", plenty)
        while_locked = list(gateway.frames)
    deliver(conn, gateway, "a1", plenty)

    assert while_locked == []
    assert '"k0"' in gateway.frames[0][1]
    assert statuses(conn)["k0"] == "sent"


def test_a_locked_row_holds_the_next_ones_back_for_a_minute_at_most(conn: Connection, database_url: str) -> None:
    """I4: somebody forgot an open transaction in psql."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=3)
    for number in range(3):
        put(conn, f"k{number}")
    gateway = FakeGateway()

    with locked(database_url, "agent_commands", "command_id = 'k0'"):
        deliver(conn, gateway, "a1", plenty)
        conn.execute("update agents set held_up_since = held_up_since - interval '59 seconds'")
        deliver(conn, gateway, "a1", plenty)
        before_the_minute = list(gateway.frames)
        conn.execute("update agents set held_up_since = held_up_since - interval '2 seconds'")
        deliver(conn, gateway, "a1", plenty)
        after_the_minute = statuses(conn)
    deliver(conn, gateway, "a1", plenty)

    assert before_the_minute == []
    assert after_the_minute == {"k0": "pending", "k1": "sent", "k2": "sent"}
    assert statuses(conn)["k0"] == "sent"
    assert conn.execute("select held_up_since from agents").fetchone() == (None,)


def test_order_holds_for_commands_that_have_waited_long_for_their_agent(conn: Connection, database_url: str) -> None:
    """The minute begins when the row is found locked, not when its command was accepted."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=3)
    for number in range(3):
        put(conn, f"k{number}", created_at="2026-01-01")
    gateway = FakeGateway()

    with locked(database_url, "agent_commands", "command_id = 'k0'"):
        deliver(conn, gateway, "a1", plenty)

    assert gateway.frames == []


def test_a_locked_agent_delays_a_submission_by_a_quarter_of_a_second_at_most(
    conn: Connection, database_url: str
) -> None:
    """F7: it is accepted and waits; the sweep delivers it."""
    connect_new_agent(conn)
    new = NewCommand(agent_id="a1", action="noop")

    with locked(database_url, "agents", "agent_id = 'a1'"):
        taken = seconds_of(lambda: submission.submit(conn, new, OPERATOR, claim=True))
        (status,) = statuses(conn).values()
    sent = sweep(conn, FakeGateway(), deadline=plenty).sent

    assert status == "pending"
    assert taken < SHORT
    assert sent == 1


def test_a_locked_table_delays_a_refusal_by_some_seconds_at_most(conn: Connection, database_url: str) -> None:
    """The caller is told to come again before the function is ended, which would be a 500."""
    connect_new_agent(conn)
    new = NewCommand(agent_id="a1", action="noop", payload={})
    with psycopg.connect(database_url) as other:
        other.execute("lock table agent_commands in exclusive mode")
        begun = time.monotonic()

        with pytest.raises(database.INTERRUPTIONS):
            submission.submit(conn, new, OPERATOR, claim=True)

    assert time.monotonic() - begun < 4


def test_submissions_to_a_locked_agent_do_not_slow_those_to_another(conn: Connection, database_url: str) -> None:
    """F7: sixteen submissions to the locked one; the 202 of another agent took 10 s."""
    for name in ("a1", "a2"):
        connect_new_agent(conn, name, f"c-{name}")

    def submit(agent_id: str) -> float:
        with open_connection(database_url) as mine:
            new = NewCommand(agent_id=agent_id, action="noop")
            return seconds_of(lambda: submission.submit(mine, new, OPERATOR, claim=True))

    with locked(database_url, "agents", "agent_id = 'a1'"), ThreadPoolExecutor(17) as pool:
        waiting = [pool.submit(submit, "a1") for _ in range(16)]
        other = pool.submit(submit, "a2").result()
        seconds = [each.result() for each in waiting]

    assert other < SHORT
    assert max(seconds) < 2 * SHORT
    assert list(statuses(conn).values()).count("pending") == 16


def test_a_locked_agent_row_does_not_hold_up_its_results(conn: Connection, database_url: str) -> None:
    """The sign of life is left out; the report counts."""
    connect_new_agent(conn)
    put(conn, "k1", status="acknowledged", attempt=1, epoch=1)

    with locked(database_url, "agents", "agent_id = 'a1'"):
        taken = seconds_of(lambda: say(conn, "complete", commandId="k1"))
        status = find(conn).status

    assert status == "completed"
    assert taken < SHORT


def test_an_agent_that_says_all_while_its_row_is_locked_for_a_moment_is_not_mute(
    conn: Connection, database_url: str
) -> None:
    """The worker that has posted to it releases its lease while the first message comes; no other message may follow."""
    connect_new_agent(conn)
    put(conn, "k1", status="sent", attempt=1, epoch=1)
    conn.execute("update agents set spoke = false, commanded_at = now()")

    def hold_the_row() -> None:
        with open_connection(database_url) as other:
            other.execute("begin; select from agents for no key update; select pg_sleep(0.4); commit")

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold_the_row)
        while not conn.execute(
            "select 1 from pg_stat_activity where query like 'begin;%' and wait_event = 'PgSleep'"
        ).fetchone():
            assert not holding.done()
        say(conn, "complete", commandId="k1")
        holding.result()

    assert conn.execute("select spoke from agents").fetchone() == (True,)


def test_a_locked_agent_row_does_not_undo_what_its_agent_resumes(conn: Connection, database_url: str) -> None:
    """What it names has its ack, although nothing can be claimed for it."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1", status="sent", attempt=1, epoch=1)
    conn.execute("update agents set spoke = true, live = true, last_seen_at = now()")

    with locked(database_url, "agents", "agent_id = 'a1'"):
        receive(conn, "a1", "c1", '{"type": "resume", "running": [{"commandId": "k1", "attempt": 1}]}')

    assert find(conn).status == "acknowledged"


def test_a_locked_agent_row_does_not_hold_up_the_messages_of_a_limited_agent(
    conn: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its messages are counted in that row; one that cannot be counted is not."""
    monkeypatch.setenv("AGENT_RATE", "100")
    connect_new_agent(conn)
    put(conn, "k1", status="acknowledged", attempt=1, epoch=1)

    with locked(database_url, "agents", "agent_id = 'a1'"):
        taken = seconds_of(lambda: say(conn, "complete", commandId="k1"))

    assert statuses(conn) == {"k1": "completed"}
    assert taken < SHORT


def test_a_locked_agent_does_not_slow_the_sweep_of_the_others(conn: Connection, database_url: str) -> None:
    """One agent's trouble is not another's."""
    for name in ("a1", "a2", "a3"):
        connect_new_agent(conn, name, f"c-{name}")
        put(conn, f"k-{name}", name)
    gateway = FakeGateway()

    with locked(database_url, "agents", "agent_id = 'a1'"):
        taken = seconds_of(lambda: sweep(conn, gateway, deadline=plenty))
        while_locked = statuses(conn)

    assert while_locked == {"k-a1": "pending", "k-a2": "sent", "k-a3": "sent"}
    assert taken < SHORT


def test_a_claim_does_not_wait_for_a_locked_agent(conn: Connection, database_url: str) -> None:
    """It fails within a quarter of a second, and the caller goes on."""
    connect_new_agent(conn)
    put(conn, "k1")

    with locked(database_url, "agents", "agent_id = 'a1'"):
        begun = time.monotonic()
        with pytest.raises(psycopg.errors.LockNotAvailable):
            claims.claim(conn, "a1")
        taken = time.monotonic() - begun

    assert 0.2 < taken < SHORT


def test_a_release_and_a_message_at_the_same_moment_do_not_miss_each_other(conn: Connection, database_url: str) -> None:
    """An agent answers before its post is released: one of the two claims what comes next, or it waits for the sweep."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=1)
    for number in range(2):
        put(conn, f"k{number}")
    say(conn, "heartbeat")
    claim = claims.claim(conn, "a1")
    assert claim is not None
    end = Said(agent_id="a1", connection_id="c1", text='{"type": "complete", "payload": {"commandId": "k0"}}')
    with (
        open_connection(database_url) as other,
        open_connection(database_url) as watch,
        ThreadPoolExecutor() as threads,
    ):
        with conn.transaction():
            released = claims.release(conn, claim, claims.Outcome(taken=claim.commands), look_again=True)
            said = threads.submit(reports.receive, other, end, SessionStates())
            while not said.done() and not waits_for_lock(watch, other):
                time.sleep(0.001)
        received = said.result()

    assert [each for each in (released, received.claim) if each is not None] != []


def test_a_release_does_not_wait_for_a_command_that_a_report_has_locked(conn: Connection, database_url: str) -> None:
    """The report may wait for the agent's row, which the release has locked: both would lose a quarter of a second."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=3)
    say(conn, "heartbeat")
    put(conn, "k1", attempt=1)
    claim = claims.claim(conn, "a1")
    assert claim is not None
    conn.execute("set lock_timeout = '1ms'")

    with open_connection(database_url) as other, other.transaction():
        assert report(other, report_of("ack", "k1", attempt=2))
        claims.release(conn, claim, Outcome(taken=claim.commands), look_again=False)

    assert find(conn).status == "acknowledged"


def test_a_release_does_not_wait_for_a_command_that_its_agent_has_stopped(conn: Connection, database_url: str) -> None:
    """The agent answers a request to stop before its post is released."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=3)
    say(conn, "heartbeat")
    put(conn, "k1", status="acknowledged", attempt=1, epoch=1, cancel_requested_at=datetime.now(UTC), stop_wanted=True)
    claim = claims.claim(conn, "a1")
    assert claim is not None
    conn.execute("set lock_timeout = '1ms'")

    with open_connection(database_url) as other, other.transaction():
        assert report(other, report_of("cancelled", "k1", attempt=1))
        claims.release(conn, claim, Outcome(told=["k1"]), look_again=False)

    assert find(conn).status == "cancelled"


def test_an_agent_that_never_acknowledges_has_its_whole_time_though_its_command_was_locked(
    conn: Connection, database_url: str
) -> None:
    """Somebody has locked it while its post is released: 30 s are too few to execute it."""
    connect_new_agent(conn, mode=DeliveryMode.UNACKNOWLEDGED)
    put(conn, "k1", execution_timeout=600)
    claim = claims.claim(conn, "a1")
    assert claim is not None
    with open_connection(database_url) as watch, ThreadPoolExecutor() as threads:
        with locked(database_url, "agent_commands", "command_id = 'k1'"):
            release = threads.submit(claims.release, conn, claim, Outcome(taken=claim.commands), look_again=False)
            while not release.done() and not waits_for_lock(watch, conn):
                time.sleep(0.001)
        release.result()

    row = conn.execute("select extract(epoch from ack_deadline - sent_at)::float8 from agent_commands").fetchone()
    assert row == (600.0,)
