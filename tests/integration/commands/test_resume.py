"""Resume: after a crash an agent says what it still executes, and what it lost ends at once."""

import json
from typing import Any

import pytest

from dispatcher.access.roles import Operator, Role
from dispatcher.commands import cancellation
from dispatcher.commands.delivery import deliver
from dispatcher.commands.loss_check import check_for_loss
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, connect_new_agent, find, put, receive, report, report_of, statuses

ANN = Operator(username="ann", role=Role.SENDER)


@pytest.fixture(autouse=True)
def _crash(conn: Connection) -> None:
    """An agent acknowledged two commands, was sent a third, crashed and is connected again."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    for name in ("k1", "k2", "sent"):
        put(conn, name)
    put(conn, "again", redeliver_after_ack=True)
    deliver(conn, FakeGateway(), "a1", plenty)
    report(conn, *(report_of("ack", name) for name in ("k1", "k2", "again")))
    connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING, window=9)


def resume(conn: Connection, *running: dict[str, Any], connection_id: str = "c2") -> bool:
    """Say what is running, as the first message over a connection."""
    return receive(conn, "a1", connection_id, json.dumps({"type": "resume", "running": running}))


def test_what_the_agent_does_not_name_was_lost(conn: Connection) -> None:
    """It ends at once, or is pending again where the command says so; what is named goes on."""
    resume(conn, {"commandId": "k1", "attempt": 1})

    assert statuses(conn) == {"k1": "acknowledged", "k2": "timed_out", "sent": "pending", "again": "pending"}
    lost = find(conn, "k2")
    assert (lost.cause, lost.error_message) == (
        "lost by its agent",
        "lost by its agent, which no longer executes it",
    )
    assert check_for_loss(conn).clean


def test_a_resume_that_names_nothing_means_that_nothing_is_running(conn: Connection) -> None:
    """An agent that keeps nothing after a crash says so."""
    resume(conn)

    assert statuses(conn) == {"k1": "timed_out", "k2": "timed_out", "sent": "pending", "again": "pending"}


def test_without_a_resume_nothing_is_taken_for_lost(conn: Connection) -> None:
    """An agent that does not know the message only reconnected."""
    report(conn, {"kind": "nonsense"}, connection_id="c2")

    assert statuses(conn) == {"k1": "acknowledged", "k2": "acknowledged", "sent": "pending", "again": "acknowledged"}


def test_a_command_that_is_named_has_its_ack(conn: Connection) -> None:
    """Its ack was lost with the old connection; it is not sent again."""
    names = [{"commandId": name, "attempt": 1} for name in ("k1", "k2", "sent", "again")]

    resume(conn, *names)

    assert set(statuses(conn).values()) == {"acknowledged"}
    assert deliver(conn, FakeGateway(), "a1", plenty).sent == 0


@pytest.mark.parametrize("attempt", [2, 9])
def test_a_command_is_not_acknowledged_by_the_name_of_an_attempt_that_was_never_sent(
    conn: Connection, attempt: int
) -> None:
    """I7: the number identifies the attempt."""
    resume(conn, {"commandId": "sent", "attempt": attempt})

    assert statuses(conn)["sent"] == "pending"


def test_a_resume_over_an_older_connection_changes_nothing(conn: Connection) -> None:
    """I8: another process with the id is connected by now."""
    before = statuses(conn)

    resume(conn, connection_id="c1")

    assert statuses(conn) == before


def test_what_was_acknowledged_over_the_new_connection_is_not_lost(conn: Connection) -> None:
    """A resume that comes late is about the time before the crash."""
    deliver(conn, FakeGateway(), "a1", plenty)
    report(conn, report_of("ack", "sent", 2), connection_id="c2")

    resume(conn)

    assert statuses(conn)["sent"] == "acknowledged"


def test_a_lost_command_with_a_requested_cancel_is_cancelled(conn: Connection) -> None:
    """I14: it is not sent again, although it may be redelivered after its ack."""
    cancellation.request_cancel(conn, "again", ANN)

    resume(conn)

    lost = find(conn, "again")
    assert (lost.status, lost.error_message) == ("cancelled", "lost by its agent, which no longer executes it")


def test_a_lost_command_without_an_attempt_left_times_out(conn: Connection) -> None:
    """I3: no attempt passes max_attempts."""
    conn.execute("update agent_commands set max_attempts = 1 where command_id = 'again'")

    resume(conn)

    assert statuses(conn)["again"] == "timed_out"


@pytest.mark.parametrize("kind", ["complete", "failed"])
def test_the_real_result_of_a_lost_command_counts(conn: Connection, kind: str) -> None:
    """I6: `timed_out` is only a guess."""
    resume(conn)

    report(conn, report_of(kind, "k2", error="late"), connection_id="c2")

    assert statuses(conn)["k2"] == ("completed" if kind == "complete" else "failed")
