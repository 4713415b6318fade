"""Settlement: which reports move a command, and which change nothing."""

import json
from typing import Any

import pytest

from dispatcher.agents import connections
from dispatcher.commands import command_records, deadlines
from dispatcher.commands.delivery import deliver
from dispatcher.commands.loss_check import check_for_loss
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Posted
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import (
    FUTURE,
    PAST,
    answer_session,
    connect,
    connect_new_agent,
    find,
    move_into_past,
    put,
    receive,
    report,
    report_of,
    say,
    statuses,
)


def seconds_to_execute(conn: Connection) -> float:
    """Return how many seconds the only command has left to be executed."""
    row = conn.execute(
        "select extract(epoch from execution_deadline - clock_timestamp())::float8 from agent_commands"
    ).fetchone()
    assert row is not None
    seconds: float = row[0]
    return seconds


def test_a_report_of_an_old_attempt_settles_the_newer_one_only_if_it_is_a_result(conn: Connection) -> None:
    """I7: an old ack or failure does not count for the newer attempt; a late result counts."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=32)
    gateway = FakeGateway()
    put(conn, "k1")
    deliver(conn, gateway, "a1", plenty)
    conn.execute("update agent_commands set status = 'pending', ack_deadline = null, cause = 'again'")
    deliver(conn, gateway, "a1", plenty)

    for old in (report_of("ack"), report_of("failed", error="no"), report_of("progress"), report_of("cancelled")):
        report(conn, old)
    report(conn, report_of("ack"), report_of("failed", error="no"))
    after_old_reports = statuses(conn)
    report(conn, report_of("complete"))

    assert after_old_reports == {"k1": "sent"}
    assert statuses(conn) == {"k1": "completed"}


def test_an_ack_over_a_closed_connection_counts_for_the_attempt_that_went_over_it(conn: Connection) -> None:
    """I7, I17: it may be settled after the $disconnect event; the epoch of the connection is still known."""
    connect_new_agent(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    connections.forget(conn, "a1", "c1")

    say(conn, "ack", commandId="k1")

    assert statuses(conn) == {"k1": "acknowledged"}


def test_an_ack_over_an_unknown_connection_does_not_stop_redelivery(conn: Connection) -> None:
    """I7: it is not known which attempt the ack means; a result counts."""
    connect_new_agent(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    conn.execute("delete from agent_connections")

    say(conn, "ack", commandId="k1")
    after_ack = statuses(conn)
    say(conn, "complete", commandId="k1")

    assert after_ack == {"k1": "sent"}
    assert statuses(conn) == {"k1": "completed"}


def test_a_late_result_replaces_a_time_out_and_no_other_end(conn: Connection) -> None:
    """I6: `timed_out` is only the service's guess; the result replaces all of it."""
    connect_new_agent(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    say(conn, "ack", commandId="k1")
    move_into_past(conn, "execution_deadline")
    deadlines.time_out(conn, 10)
    before = find(conn)

    say(conn, "complete", commandId="k1")
    say(conn, "failed", commandId="k1", error="late")

    after = find(conn)
    assert before.status == "timed_out"
    assert before.error_message == "no result within 600 seconds of the ack"
    assert after.status == "completed"
    assert after.error_message is None


def test_the_execution_timeout_starts_with_the_ack_and_again_with_each_progress(conn: Connection) -> None:
    """It does not start with the acceptance, which may be days ago."""
    connect_new_agent(conn, window=10)
    put(conn, "k1", created_at=PAST, execution_timeout=100)
    deliver(conn, FakeGateway(), "a1", plenty)

    say(conn, "ack", commandId="k1")
    after_ack = seconds_to_execute(conn)
    conn.execute("update agent_commands set execution_deadline = now() + interval '1 s'")
    report(conn, report_of("progress", progress=1))

    assert 50 < after_ack <= 100
    assert 50 < seconds_to_execute(conn) <= 100


@pytest.mark.parametrize("kind", ["ack", "complete", "failed"])
def test_an_agent_cannot_settle_a_command_that_was_never_sent(conn: Connection, kind: str) -> None:
    """I9: the agent must have guessed the id."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1", not_before=FUTURE)

    moved = report(conn, report_of(kind, error="no"))

    assert not moved
    assert statuses(conn) == {"k1": "pending"}


def test_an_agent_cannot_acknowledge_an_inserted_row_that_was_never_sent(conn: Connection) -> None:
    """I9: a row that was inserted by hand has an epoch and no attempt."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1", epoch=1, not_before=FUTURE)

    moved = say(conn, "ack", commandId="k1")

    assert not moved
    assert statuses(conn) == {"k1": "pending"}


def test_an_agent_cannot_request_a_retry_of_another_agents_command(conn: Connection) -> None:
    """I9: a retryable failure has its own statement."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    connect_new_agent(conn, "a2", "c-a2", mode=DeliveryMode.BATCHING)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    failure = report_of("failed", error="busy", retryable=True)
    moved = report(conn, failure, agent_id="a2", connection_id="c-a2")

    assert not moved
    assert statuses(conn) == {"k1": "sent"}


def test_an_answer_over_an_old_connection_does_not_settle_a_command_of_a_newer_one(conn: Connection) -> None:
    """I7: the docker-agent's answer names only the session, and the command that it belongs to is cancelled by now."""
    connect_new_agent(conn, platform="docker")
    put(conn, "k1", session_id="s1")
    deliver(conn, FakeGateway(), "a1", plenty)
    connect(conn, connection_id="c2")
    conn.execute("update agent_commands set status = 'cancelled', cause = 'cancelled', completed_at = now()")
    put(conn, "k2", session_id="s1")
    deliver(conn, FakeGateway(), "a1", plenty)

    answer_session(conn, "s1")
    after_the_late_answer = statuses(conn)
    answer_session(conn, "s1", connection_id="c2")

    assert after_the_late_answer == {"k1": "cancelled", "k2": "sent"}
    assert statuses(conn) == {"k1": "cancelled", "k2": "completed"}


def test_an_answer_that_arrives_after_its_disconnect_still_counts(conn: Connection) -> None:
    """I7: there is no newer connection that the answer could belong to."""
    connect_new_agent(conn, platform="docker")
    put(conn, "k1", session_id="s1")
    deliver(conn, FakeGateway(), "a1", plenty)
    connections.forget(conn, "a1", "c1")

    answer_session(conn, "s1")

    assert statuses(conn) == {"k1": "completed"}


def test_a_docker_agents_answer_settles_the_command_under_way_and_not_the_timed_out_one(conn: Connection) -> None:
    """The answer names only the session; the command that was sent first is meant."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    for number in (1, 2, 3):
        put(conn, f"k{number}", session_id="s1", status="sent", attempt=1, epoch=1)
    conn.execute("update agent_commands set status = 'timed_out', cause = 'no result' where command_id = 'k1'")

    answer_session(conn, "s1")

    assert statuses(conn) == {"k1": "timed_out", "k2": "completed", "k3": "sent"}


@pytest.mark.parametrize(("sent_before", "own_at_once"), [(1, False), (0, True)])
def test_a_second_answer_of_a_docker_agent_does_not_end_its_sessions_next_command(
    conn: Connection, sent_before: int, *, own_at_once: bool
) -> None:
    """It executed the start twice, because that was sent twice; that the session runs is no answer to a stop."""
    connect_new_agent(conn, platform="docker")
    put(conn, "k1", session_id="s1", action="start_session", attempt=sent_before)
    put(conn, "k2", session_id="s1", action="stop_session")
    deliver(conn, FakeGateway(), "a1", plenty)
    answer_session(conn, "s1", status="running")
    deliver(conn, FakeGateway(), "a1", plenty)

    second = answer_session(conn, "s1", status="running")
    after_second = statuses(conn)
    own = answer_session(conn, "s1", status="terminated")

    assert second == own_at_once
    assert after_second == {"k1": "completed", "k2": "completed" if own_at_once else "sent"}
    assert own != own_at_once
    assert statuses(conn) == {"k1": "completed", "k2": "completed"}


def test_a_retryable_failure_that_is_reported_twice_does_not_end_the_command(conn: Connection) -> None:
    """Agents repeat what they are not sure of: the command is pending again, and another attempt is to come."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=1)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    failure = report_of("failed", error="busy", retryable=True)

    for _ in range(2):
        report(conn, failure)

    assert statuses(conn) == {"k1": "pending"}


def test_a_retryable_failure_of_the_last_attempt_ends_the_command(conn: Connection) -> None:
    """There is no attempt to come."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=1)
    put(conn, "k1", max_attempts=1)
    deliver(conn, FakeGateway(), "a1", plenty)

    report(conn, report_of("failed", error="busy", retryable=True))

    assert statuses(conn) == {"k1": "failed"}


GUESSES: dict[str, tuple[str, dict[str, Any]]] = {
    "dead": ("ack_deadline", {"max_attempts": 1}),
    "expired": ("deliver_by", {}),
    "cancelled": ("ack_deadline", {"cancel_requested_at": PAST}),
    "timed_out": ("execution_deadline", {}),
}


@pytest.mark.parametrize("mode", [DeliveryMode.ACKNOWLEDGING, DeliveryMode.BATCHING])
@pytest.mark.parametrize("guess", GUESSES)
@pytest.mark.parametrize("kind", ["complete", "failed"])
def test_a_real_result_replaces_every_end_that_was_guessed(
    conn: Connection, guess: str, kind: str, mode: DeliveryMode
) -> None:
    """D3: over a later connection too, and all of it: status, result and error."""
    column, columns = GUESSES[guess]
    connect_new_agent(conn, mode=mode)
    put(conn, "k1", **columns)
    deliver(conn, FakeGateway(), "a1", plenty)
    if guess == "timed_out":
        say(conn, "ack", commandId="k1")
    elif guess == "expired":
        move_into_past(conn, "ack_deadline")
        sweep(conn, FakeGateway(outcomes=[Posted.REFUSED]), deadline=plenty)
        conn.execute("update agent_commands set deliver_by = now()")
    move_into_past(conn, column)
    sweep(conn, FakeGateway(outcomes=[Posted.REFUSED]), deadline=plenty)
    guessed = find(conn).status
    connect(conn, connection_id="c2", mode=mode)

    say(conn, kind, connection_id="c2", commandId="k1", result={"n": 1}, error="no disk")

    command = find(conn)
    assert guessed == guess
    expected = ("completed", {"n": 1}, None) if kind == "complete" else ("failed", None, "no disk")
    assert (command.status, command.result, command.error_message) == expected
    assert check_for_loss(conn).clean


def test_reports_of_one_message_are_settled_in_the_order_in_which_they_were_written(conn: Connection) -> None:
    """D8: `[ack, complete, failed]` ended as failed."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    orders = {
        "complete first": ["ack", "complete", "failed"],
        "failed first": ["ack", "failed", "complete"],
        "no ack": ["failed", "complete"],
        "ack last": ["complete", "ack"],
        "cancelled first": ["cancelled", "complete"],
        "complete, then cancelled": ["complete", "cancelled"],
        "ack twice": ["ack", "ack", "progress", "complete"],
    }
    for name in orders:
        put(conn, name, cancel_requested_at=PAST)
    deliver(conn, FakeGateway(), "a1", plenty)

    # One message, in which the reports of all commands take turns.
    turns = [
        report_of(kinds[turn], name, error="no")
        for turn in range(4)
        for name, kinds in orders.items()
        if turn < len(kinds)
    ]
    report(conn, *turns)

    assert statuses(conn) == {
        "complete first": "completed",
        "failed first": "failed",
        "no ack": "failed",
        "ack last": "completed",
        "cancelled first": "cancelled",
        "complete, then cancelled": "completed",
        "ack twice": "completed",
    }
    assert check_for_loss(conn).clean


def test_what_follows_an_end_in_the_same_message_does_not_come_before_it(conn: Connection) -> None:
    """I6: an ack that is said again, with an end of its own, is settled in its place."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=5)
    put(conn, "k1", status="sent", attempt=1, epoch=1)

    report(conn, report_of("complete", result=1), report_of("ack"), report_of("failed", error="no"))

    command = find(conn)
    assert (command.status, command.result) == ("completed", 1)


def test_a_retryable_failure_after_an_ack_in_one_message_keeps_both_transitions(conn: Connection) -> None:
    """I16: each is an update of its own."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    report(conn, report_of("ack"), report_of("failed", error="busy", retryable=True))

    history = [entry.to_status for entry in command_records.history(conn, "k1", None)]
    assert history == ["pending", "sent", "acknowledged", "pending"]


@pytest.mark.parametrize(("kind", "status"), [("complete", "completed"), ("failed", "failed")])
def test_an_ack_and_an_end_in_one_message_are_two_rows_of_history_with_their_times_in_order(
    conn: Connection, kind: str, status: str
) -> None:
    """I12, I16: although they are one update of the command."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    report(conn, report_of("ack"), report_of(kind, error="no"))

    rows = conn.execute(
        "select from_status, to_status, cause, by_hand, at from command_history order by history_id"
    ).fetchall()
    times = conn.execute("select sent_at, acknowledged_at, completed_at from agent_commands").fetchone()
    cause = f"{status} by its agent" if status == "completed" else "failed at its agent"
    assert [row[:4] for row in rows] == [
        (None, "pending", "accepted", False),
        ("pending", "sent", "claimed for attempt 1", False),
        ("sent", "acknowledged", "acknowledged by its agent", False),
        ("acknowledged", status, cause, False),
    ]
    assert [row[4] for row in rows] == sorted(row[4] for row in rows)
    assert times is not None
    assert list(times) == sorted(times)


@pytest.mark.parametrize("session_id", [None, "s1"])
def test_a_docker_agents_answer_finds_its_command_by_the_payloads_session(
    conn: Connection, session_id: str | None
) -> None:
    """D6: a start was executed three times because nobody had filled a column."""
    connect_new_agent(conn, platform="docker")
    put(conn, "k1", payload='{"sessionId": "s1"}', session_id=session_id)
    put(conn, "k2", payload='{"sessionId": "s2"}')
    deliver(conn, FakeGateway(), "a1", plenty)

    answer_session(conn, "s1")

    assert statuses(conn) == {"k1": "completed", "k2": "sent"}


def test_a_docker_agents_answer_means_the_only_command_in_flight(conn: Connection) -> None:
    """D6: the session of the command is recorded nowhere, not in its payload either."""
    connect_new_agent(conn, platform="docker")
    put(conn, "k1", payload="{}")
    put(conn, "k2", payload="{}")
    deliver(conn, FakeGateway(), "a1", plenty)

    answer_session(conn, "s1", error="no image", success=False)

    assert statuses(conn) == {"k1": "failed", "k2": "pending"}


def test_a_docker_agents_answer_means_no_command_where_several_could_be_meant(conn: Connection) -> None:
    """I7: nor a command of another session."""
    connect_new_agent(conn, platform="docker")
    put(conn, "k1", payload="{}")
    put(conn, "k2", payload='{"sessionId": "s2"}')
    deliver(conn, FakeGateway(), "a1", plenty)

    answer_session(conn, "s1")
    several = statuses(conn)
    answer_session(conn, "s2")
    put(conn, "k3", payload='{"sessionId": "s3"}')
    conn.execute("delete from agent_commands where command_id = 'k1'")
    deliver(conn, FakeGateway(), "a1", plenty)
    answer_session(conn, "s1")

    assert several == {"k1": "sent", "k2": "sent"}
    assert statuses(conn) == {"k2": "completed", "k3": "sent"}


def test_two_answers_of_one_session_in_one_message_settle_its_commands_in_order(conn: Connection) -> None:
    """A start that timed out, and the stop behind it."""
    connect_new_agent(conn, platform="docker")
    for name in ("start", "stop"):
        put(conn, name, session_id="s1", status="sent", attempt=1, epoch=1)
    conn.execute(
        "insert into command_history (command_id, to_status, attempt, epoch, cause)"
        " select command_id, 'sent', 1, 1, '' from agent_commands"
    )
    answer = json.dumps({"type": "command_response", "sessionId": "s1", "success": True})
    failure = json.dumps({"type": "command_response", "sessionId": "s1", "success": False, "error": "gone"})

    receive(conn, "a1", "c1", f"{answer}\n{failure}")

    assert statuses(conn) == {"start": "completed", "stop": "failed"}


def test_two_documents_in_one_frame_are_both_taken(conn: Connection) -> None:
    """D11: what an agent of the first protocol says once is not thrown away."""
    connect_new_agent(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    ack, result = ({"type": kind, "payload": {"commandId": "k1"}} for kind in ("ack", "complete"))

    receive(conn, "a1", "c1", f"{json.dumps(ack)}\n{json.dumps(result)}")

    history = [entry.to_status for entry in command_records.history(conn, "k1", None)]
    assert history == ["pending", "sent", "acknowledged", "completed"]


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        ({"code": 7}, '{"code":7}'),
        ([1, "x"], '[1,"x"]'),
        (0, "0"),
        (False, "false"),
        ("text", "text"),
        (None, "the agent gave no reason"),
        ("", "the agent gave no reason"),
    ],
)
def test_an_error_of_any_json_type_is_kept_as_text(conn: Connection, error: object, kept: str) -> None:
    """D10."""
    connect_new_agent(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    say(conn, "failed", commandId="k1", error=error)

    assert find(conn).error_message == kept
