"""Redelivery: a command whose attempt had no effect returns to the queue, until no attempt is left."""

from dispatcher.commands import claims, redelivery
from dispatcher.commands.delivery import deliver
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import FUTURE, connect, connect_new_agent, find, move_into_past, put, report, report_of, say, statuses


def test_an_unacknowledged_command_is_sent_again_with_a_larger_attempt_until_none_is_left(conn: Connection) -> None:
    """Then it is dead-lettered, with the reason."""
    connect_new_agent(conn)
    put(conn, "k1", max_attempts=2)
    gateway = FakeGateway()

    for _ in range(3):
        sweep(conn, gateway, deadline=plenty)
        move_into_past(conn, "ack_deadline")
    sweep(conn, gateway, deadline=plenty)

    command = find(conn)
    assert gateway.command_ids == ["k1", "k1"]
    assert command.status == "dead"
    assert command.attempt == 2
    assert command.error_message == "attempt 2 was not acknowledged in time; no attempt is left of 2"


def test_an_attempt_is_not_ended_before_its_ack_deadline(conn: Connection) -> None:
    """I3: otherwise each sweep would send every command again."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    assert redelivery.return_unacknowledged(conn, 10) == 0
    assert statuses(conn) == {"k1": "sent"}


def test_a_missing_ack_does_not_count_while_the_agent_executes(conn: Connection) -> None:
    """The agent executes in its read loop and cannot acknowledge, so the next command is not sent again."""
    connect_new_agent(conn)
    put(conn, "k1")
    put(conn, "k2")
    gateway = FakeGateway()
    deliver(conn, gateway, "a1", plenty)
    say(conn, "ack", commandId="k1")
    deliver(conn, gateway, "a1", plenty)

    move_into_past(conn, "ack_deadline")
    returned_while_busy = sweep(conn, gateway, deadline=plenty).released
    say(conn, "complete", commandId="k1")
    returned_when_idle = sweep(conn, gateway, deadline=plenty).released

    assert returned_while_busy == 0
    assert returned_when_idle == 1
    assert gateway.command_ids == ["k1", "k2", "k2"]


def test_an_ack_over_an_older_connection_does_not_stop_redelivery_of_the_next_command(conn: Connection) -> None:
    """I15: the agent may have been restarted and may not execute that command any more."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    report(conn, report_of("ack"))
    connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k2")
    deliver(conn, FakeGateway(), "a1", plenty)
    conn.execute("update agent_commands set ack_deadline = now() where command_id = 'k2'")

    assert redelivery.return_unacknowledged(conn, 10) == 1
    assert statuses(conn) == {"k1": "acknowledged", "k2": "pending"}


def test_a_new_connection_gets_the_unacknowledged_commands_of_the_older_one(conn: Connection) -> None:
    """In order; a late ack over the older connection does not count for the newer attempt."""
    connect_new_agent(conn)
    for number in range(2):
        put(conn, f"k{number}")
    gateway = FakeGateway()
    deliver(conn, gateway, "a1", plenty)

    connect(conn, connection_id="c2")
    deliver(conn, gateway, "a1", plenty)
    say(conn, "ack", commandId="k0")

    assert gateway.command_ids == ["k0", "k0"]
    assert statuses(conn) == {"k0": "sent", "k1": "pending"}
    assert gateway.connection_ids == ["c1", "c2"]


def test_a_row_inserted_as_sent_returns_to_the_queue_when_its_agent_reconnects(conn: Connection) -> None:
    """I11: a row that was inserted by hand has no epoch."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1", status="sent", attempt=1, ack_deadline=FUTURE)

    connect(conn, connection_id="c2")

    assert statuses(conn) == {"k1": "pending"}


def test_a_function_killed_between_claim_and_post_costs_an_attempt_and_a_deadline(conn: Connection) -> None:
    """I3: it may have posted; after the lease and the ack deadline the sweep sends the command again."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1")
    claims.claim(conn, "a1")

    sent_under_the_lease = sweep(conn, FakeGateway(), deadline=plenty).sent
    conn.execute("update agents set lease_expires_at = now()")
    conn.execute("update agent_commands set ack_deadline = now()")
    gateway = FakeGateway()
    sweep(conn, gateway, deadline=plenty)

    assert sent_under_the_lease == 0
    assert [message["commands"][0]["attempt"] for message in gateway.messages] == [2]


def test_a_retryable_failure_is_tried_again_while_attempts_are_left(conn: Connection) -> None:
    """After a pause; after the last attempt the command has failed, with the agent's reason."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=32)
    gateway = FakeGateway()
    put(conn, "k1", max_attempts=2)

    deliver(conn, gateway, "a1", plenty)
    report(conn, report_of("failed", error="busy", retryable=True))
    claimed_during_the_pause = deliver(conn, gateway, "a1", plenty).claimed
    conn.execute("update agent_commands set retry_at = now()")
    deliver(conn, gateway, "a1", plenty)
    report(conn, report_of("failed", attempt=2, error="still busy", retryable=True))

    command = find(conn)
    assert claimed_during_the_pause == 0
    assert command.status == "failed"
    assert command.attempt == 2
    assert command.error_message == "still busy"
