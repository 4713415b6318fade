"""Attempts: what surely did not reach the agent costs none, and what may have reached it is paced."""

import json
from collections.abc import Callable, Iterator

import pytest

from dispatcher.commands import command_records
from dispatcher.commands.delivery import deliver
from dispatcher.commands.explanation import explain
from dispatcher.commands.loss_check import check_for_loss
from dispatcher.commands.sweep import sweep
from dispatcher.platform import database
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.gateway import Posted
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.function_environment import function_environment
from tests.rows import (
    connect,
    connect_new_agent,
    find,
    interrupt_once,
    move_into_past,
    put,
    report,
    report_of,
    say,
    statuses,
)


def wait_out_the_pause(conn: Connection) -> float:
    """Let a pause of the agent's queue end now; return how long it was to be, in seconds."""
    row = conn.execute("select extract(epoch from throttled_until - clock_timestamp())::float8 from agents").fetchone()
    assert row is not None
    conn.execute("update agents set throttled_until = now()")
    seconds: float = row[0]
    return seconds


def retry_in(conn: Connection) -> float | None:
    """Return how many seconds after the last attempt the next one may come at the earliest."""
    row = conn.execute("select extract(epoch from retry_at - sent_at)::float8 from agent_commands").fetchone()
    assert row is not None
    seconds: float | None = row[0]
    return seconds


@pytest.mark.parametrize("mode", DeliveryMode)
def test_a_gateway_that_refuses_for_an_hour_costs_no_attempt_and_kills_no_command(
    conn: Connection, mode: DeliveryMode
) -> None:
    """D1: ten refusals made a command dead within minutes."""
    connect_new_agent(conn, mode=mode, window=10)
    for number in range(3):
        put(conn, f"k{number}", session_id=f"s{number}", max_attempts=1)
    refusing = FakeGateway(outcomes=[Posted.REFUSED] * 99)

    pauses: list[float] = []
    while sum(pauses) < 3600:
        assert deliver(conn, refusing, "a1", plenty).sent == 0
        pauses.append(wait_out_the_pause(conn))
    posts = 99 - len(refusing.outcomes)
    working = FakeGateway()
    deliver(conn, working, "a1", plenty)

    assert posts == len(pauses)
    assert working.frames != []
    assert "k0" in working.frames[0][1]
    assert find(conn, "k0").attempt == 1
    assert set(statuses(conn).values()) <= {"sent", "pending"}


@pytest.mark.parametrize(("refusals", "most"), [(0, 1), (1, 2), (3, 8), (6, 60), (1000, 60)])
@pytest.mark.parametrize("posted", [Posted.REFUSED, Posted.UNKNOWN])
def test_the_pause_after_a_refusal_is_doubled_up_to_a_minute_and_half_of_it_is_random(
    conn: Connection, refusals: int, most: float, posted: Posted
) -> None:
    """Jitter spreads agents that were refused together; the limit keeps later pauses short."""
    connect_new_agent(conn)
    pauses: list[float] = []
    for number in range(12):
        put(conn, f"k{number}", priority=number)
        conn.execute("update agents set refusals = %s", (refusals,))
        deliver(conn, FakeGateway(outcomes=[posted]), "a1", plenty)
        pauses.append(wait_out_the_pause(conn))
        conn.execute("delete from agent_commands")

    assert most / 2 - 0.1 <= min(pauses) < max(pauses) <= most
    assert max(pauses) - min(pauses) > most / 20


def test_while_the_gateway_refuses_one_command_at_a_time_is_tried(conn: Connection) -> None:
    """A whole window would be claimed and given back for nothing."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    for number in range(5):
        put(conn, f"k{number}")
    tried: list[int] = []
    gateway = FakeGateway(
        outcomes=[Posted.REFUSED] * 2, before_post=lambda frame: tried.append(len(json.loads(frame)["commands"]))
    )

    deliver(conn, gateway, "a1", plenty)
    wait_out_the_pause(conn)
    deliver(conn, gateway, "a1", plenty)
    wait_out_the_pause(conn)
    deliver(conn, gateway, "a1", plenty)

    # Refused, refused, taken; then the rest in one message.
    assert tried == [5, 1, 1, 4]
    assert set(statuses(conn).values()) == {"sent"}


def test_why_and_the_figures_say_that_the_gateway_refuses(conn: Connection) -> None:
    """D1: nothing else would tell, for no attempt is used."""
    connect_new_agent(conn)
    put(conn, "k1")
    for _ in range(2):
        deliver(conn, FakeGateway(outcomes=[Posted.REFUSED]), "a1", plenty)
        conn.execute("update agents set throttled_until = now(), refused_since = refused_since - interval '1 minute'")

    why = explain(conn, "k1", None)
    figures = check_for_loss(conn).figures

    assert why.reason == "refused"
    assert "has refused the last 2 posts" in why.sentence
    assert "no attempt was used" in why.sentence
    assert figures["refused_agents"] == 1
    assert figures["longest_refused_seconds"] >= 120


@pytest.mark.parametrize("end", ["a taken post", "a new connection"])
def test_refusals_are_counted_from_the_last_success(conn: Connection, end: str) -> None:
    """They are a row of refusals, not a sum."""
    connect_new_agent(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(outcomes=[Posted.REFUSED]), "a1", plenty)
    wait_out_the_pause(conn)

    if end == "a taken post":
        deliver(conn, FakeGateway(), "a1", plenty)
    else:
        connect(conn, connection_id="c2")

    assert conn.execute("select refusals, refused_since from agents").fetchone() == (0, None)


def test_a_refused_command_expires_at_its_deliver_by(conn: Connection) -> None:
    """D1, I14: this bounds the refusals."""
    connect_new_agent(conn)
    put(conn, "k1", max_attempts=1)
    deliver(conn, FakeGateway(outcomes=[Posted.REFUSED]), "a1", plenty)
    conn.execute("update agent_commands set deliver_by = now()")

    sweep(conn, FakeGateway(), deadline=plenty)

    assert statuses(conn) == {"k1": "expired"}


@pytest.mark.parametrize("posted", [Posted.GONE, Posted.REFUSED])
def test_the_history_tells_of_an_attempt_that_was_given_back(conn: Connection, posted: Posted) -> None:
    """I16: both transitions have their row, with the reason."""
    connect_new_agent(conn)
    put(conn, "k1", max_attempts=1)

    deliver(conn, FakeGateway(outcomes=[posted]), "a1", plenty)

    rows = [(entry.to_status, entry.attempt, entry.cause) for entry in command_records.history(conn, "k1", None)]
    reason = "found the connection gone" if posted is Posted.GONE else "was refused by the gateway"
    assert rows == [
        ("pending", 0, "accepted"),
        ("sent", 1, "claimed for attempt 1"),
        ("pending", 0, f"attempt 1 {reason}"),
    ]


def test_a_post_without_an_answer_counts_as_an_attempt(conn: Connection) -> None:
    """I3: it may have arrived."""
    connect_new_agent(conn)
    put(conn, "k1", max_attempts=1)

    deliver(conn, FakeGateway(outcomes=[Posted.UNKNOWN]), "a1", plenty)
    move_into_past(conn, "ack_deadline")
    sweep(conn, FakeGateway(), deadline=plenty)

    assert statuses(conn) == {"k1": "dead"}


@pytest.mark.parametrize("mode", [DeliveryMode.ACKNOWLEDGING, DeliveryMode.BATCHING])
def test_an_agent_never_sees_an_attempt_number_twice(conn: Connection, mode: DeliveryMode) -> None:
    """I3: numbers are given back only if nobody has seen them, whatever comes between."""
    connect_new_agent(conn, mode=mode)
    put(conn, "k1")
    seen: list[int] = []
    outcomes = [Posted.REFUSED, Posted.TAKEN, Posted.GONE, Posted.UNKNOWN, Posted.REFUSED, Posted.GONE, Posted.TAKEN]

    for number, posted in enumerate(outcomes):
        connect(conn, connection_id=f"c{number}", mode=mode)
        say(conn, "heartbeat", connection_id=f"c{number}")
        conn.execute("update agent_commands set retry_at = null")
        gateway = FakeGateway(outcomes=[posted])
        deliver(conn, gateway, "a1", plenty)
        if gateway.frames:
            seen.append(find(conn).attempt)

    assert seen == [1, 2, 3]


def reconnecting(conn: Connection, mode: DeliveryMode) -> Callable[[str], None]:
    """Let the agent open another connection while a command is posted."""

    def connect_again(_frame: str) -> None:
        connect(conn, connection_id="c2", mode=mode)

    return connect_again


@pytest.mark.parametrize("posted", [Posted.GONE, Posted.REFUSED])
@pytest.mark.parametrize("mode", DeliveryMode)
def test_a_last_attempt_that_was_not_posted_before_the_agent_reconnected_does_not_count(
    conn: Connection, mode: DeliveryMode, posted: Posted
) -> None:
    """F9, I3: the new connection made the command dead while the post to the older one was under way."""
    connect_new_agent(conn, mode=mode)
    put(conn, "k1", max_attempts=1)
    refusing = FakeGateway(outcomes=[posted], before_post=reconnecting(conn, mode))

    deliver(conn, refusing, "a1", plenty)
    before = statuses(conn)
    gateway = FakeGateway()
    deliver(conn, gateway, "a1", plenty)

    assert before == {"k1": "pending"}
    assert gateway.connection_ids == ["c2"]
    assert find(conn).attempt == 1


@pytest.mark.parametrize("mode", DeliveryMode)
def test_a_last_attempt_over_an_older_connection_holds_the_queue_for_20_s_at_most(
    conn: Connection, mode: DeliveryMode
) -> None:
    """I4: it was posted while the agent reconnected; an agent that never acknowledges has 600 s otherwise."""
    connect_new_agent(conn, mode=mode)
    put(conn, "k1", max_attempts=1, session_id="s")
    put(conn, "k2", session_id="s")
    taking = FakeGateway(before_post=reconnecting(conn, mode))
    deliver(conn, taking, "a1", plenty)
    row = conn.execute(
        "select extract(epoch from ack_deadline - sent_at)::float8 from agent_commands where status = 'sent'"
    ).fetchone()
    during = statuses(conn)

    conn.execute("update agent_commands set ack_deadline = now() where status = 'sent'")
    gateway = FakeGateway()
    sweep(conn, gateway, deadline=plenty)

    assert row is not None
    assert row[0] <= 20
    assert during == {"k1": "sent", "k2": "pending"}
    assert statuses(conn) == {"k1": "dead", "k2": "sent"}
    assert gateway.command_ids == ["k2"]


def test_a_last_attempt_that_nobody_posts_any_more_ends_with_its_connection(conn: Connection) -> None:
    """The next command does not wait for its deadline."""
    connect_new_agent(conn, platform="docker")
    put(conn, "k1", max_attempts=1)
    deliver(conn, FakeGateway(), "a1", plenty)
    conn.execute("update agent_commands set sent_at = sent_at - interval '21 seconds'")

    connect(conn, connection_id="c2")

    assert statuses(conn) == {"k1": "dead"}


@pytest.mark.parametrize(("attempt", "pause"), [(1, None), (2, 4), (3, 8), (5, 32), (6, 60), (40, 60)])
@pytest.mark.parametrize("how", ["no ack", "reconnection"])
def test_attempts_are_paced_from_the_second_on(conn: Connection, how: str, attempt: int, pause: float | None) -> None:
    """D5: two processes with one id killed a command within four seconds."""
    connect_new_agent(conn)
    put(conn, "k1", attempt=attempt - 1, max_attempts=99)
    deliver(conn, FakeGateway(), "a1", plenty)

    if how == "reconnection":
        connect(conn, connection_id="c2")
    else:
        conn.execute("update agent_commands set ack_deadline = now()")
        sweep(conn, FakeGateway(outcomes=[Posted.REFUSED]), deadline=plenty)

    assert retry_in(conn) == pause


def test_a_paced_command_is_not_sent_again_over_a_new_connection(conn: Connection) -> None:
    """D5: a link that flaps costs no further attempt; `why` says when the next one is due."""
    connect_new_agent(conn)
    put(conn, "k1", max_attempts=3)
    gateway = FakeGateway()

    for number in range(10):
        connect(conn, connection_id=f"c{number}")
        say(conn, "heartbeat", connection_id=f"c{number}")
        deliver(conn, gateway, "a1", plenty)

    assert gateway.connection_ids == ["c0", "c1"]
    assert statuses(conn) == {"k1": "pending"}
    assert explain(conn, "k1", None).reason == "paced"


def test_a_paced_command_does_not_hold_back_the_next_one(conn: Connection) -> None:
    """I4: first deliveries are in order among themselves."""
    connect_new_agent(conn)
    put(conn, "k1", attempt=3)
    put(conn, "k2")
    deliver(conn, FakeGateway(), "a1", plenty)
    connect(conn, connection_id="c2")
    why = explain(conn, "k2", None).reason
    gateway = FakeGateway()

    deliver(conn, gateway, "a1", plenty)

    assert why == "due"
    assert gateway.command_ids == ["k2"]


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of a function: the work is repeated on its own connection."""
    monkeypatch.setattr(database, "RETRY_PAUSES", (0.01, 0.01))
    with function_environment(database_url, monkeypatch):
        yield


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("posted", [Posted.TAKEN, Posted.REFUSED, Posted.GONE, Posted.UNKNOWN])
def test_a_release_is_repeated_when_its_session_was_terminated(
    conn: Connection, database_url: str, posted: Posted
) -> None:
    """F5: otherwise the agent is blocked until its lease ends, and a refusal costs an attempt."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1")
    with open_connection(database_url) as mine:

        def terminate(_frame: str) -> None:
            conn.execute("select pg_terminate_backend(%s, 1000)", (mine.info.backend_pid,))

        deliver(mine, FakeGateway(outcomes=[posted], before_post=terminate), "a1", plenty)

    lease = conn.execute("select lease_token, lease_expires_at from agents").fetchone()
    surely_not = posted in {Posted.REFUSED, Posted.GONE}
    assert lease == (None, None)
    assert (find(conn).status, find(conn).attempt) == (("pending", 0) if surely_not else ("sent", 1))


@pytest.mark.usefixtures("environment")
def test_a_release_that_was_chosen_to_end_a_deadlock_is_repeated(conn: Connection) -> None:
    """Otherwise its attempts and its lease would be lost."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1")

    def deadlock(_frame: str) -> None:
        interrupt_once(conn, "agents", "40P01")

    deliver(conn, FakeGateway(outcomes=[Posted.REFUSED], before_post=deadlock), "a1", plenty)

    assert conn.execute("select lease_token, refusals from agents").fetchone() == (None, 1)
    assert find(conn).attempt == 0


def test_a_retryable_failure_is_paced_and_leaves_not_before_as_it_was(conn: Connection) -> None:
    """`notBefore` is the operator's."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1", not_before="2026-01-01")
    deliver(conn, FakeGateway(), "a1", plenty)
    report(conn, report_of("ack"), report_of("failed", error="busy", retryable=True))

    row = conn.execute(
        "select status, retry_at > now(), not_before = '2026-01-01', agent_error from agent_commands"
    ).fetchone()

    assert row == ("pending", True, True, "busy")


def test_an_agents_error_is_told_beside_ours(conn: Connection) -> None:
    """D7: the reason of a retryable failure was nowhere after the command had died."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "dead", max_attempts=2)
    put(conn, "expired")
    put(conn, "timed_out")
    put(conn, "failed")
    deliver(conn, FakeGateway(), "a1", plenty)
    report(conn, *(report_of("failed", name, error="no disk", retryable=True) for name in statuses(conn)))
    conn.execute("update agent_commands set retry_at = null where command_id = 'failed'")
    deliver(conn, FakeGateway(outcomes=[Posted.TOO_LARGE]), "a1", plenty)
    conn.execute("update agent_commands set deliver_by = now() where command_id = 'expired'")
    conn.execute("update agent_commands set retry_at = null where command_id <> 'expired'")
    deliver(conn, FakeGateway(), "a1", plenty)
    report(conn, report_of("ack", "timed_out", 2))
    move_into_past(conn, "ack_deadline")
    move_into_past(conn, "execution_deadline")

    sweep(conn, FakeGateway(), deadline=plenty)

    told: dict[str, str] = dict(conn.execute("select command_id, error_message from agent_commands").fetchall())
    too_large = told.pop("failed")
    assert too_large.startswith("the message of ")
    assert too_large.endswith(" bytes is too large for the gateway; the agent reported: no disk")
    assert told == {
        "dead": "attempt 2 was not acknowledged in time; no attempt is left of 2; the agent reported: no disk",
        "expired": "not delivered in time; the agent reported: no disk",
        "timed_out": "no result within 600 seconds of the ack; the agent reported: no disk",
    }


def test_a_missing_ack_counts_after_five_minutes_whatever_else_is_executed(conn: Connection) -> None:
    """F1: one lost result held an idle agent's queue for the execution timeout, unseen."""
    connect_new_agent(conn)
    put(conn, "k1", execution_timeout=100_000)
    put(conn, "k2")
    gateway = FakeGateway()
    deliver(conn, gateway, "a1", plenty)
    say(conn, "ack", commandId="k1")
    deliver(conn, gateway, "a1", plenty)

    conn.execute("update agent_commands set ack_deadline = now() - interval '4 minutes' where status = 'sent'")
    early = sweep(conn, gateway, deadline=plenty).released
    conn.execute("update agent_commands set ack_deadline = now() - interval '6 minutes' where status = 'sent'")
    late = sweep(conn, gateway, deadline=plenty).released

    assert (early, late) == (0, 1)
    assert gateway.command_ids == ["k1", "k2", "k2"]
