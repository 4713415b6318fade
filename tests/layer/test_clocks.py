"""What the deadlines do, and what they leave alone."""

import threading
from typing import Any

import pytest
from psycopg import errors, sql

from dispatcher.commands import claims, deadlines
from dispatcher.commands.delivery import deliver
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.gateway import Posted
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put, receive, statuses


def ago(conn: Connection, column: str) -> None:
    """Let a point in time of every command be past."""
    statement = sql.SQL("update agent_commands set {0} = now() - interval '1 s' where {0} is not null")
    conn.execute(statement.format(sql.Identifier(column)))


def test_an_unacknowledged_command_is_sent_again_with_a_larger_attempt_until_none_is_left(conn: Connection) -> None:
    """Then it is dead, with its reason."""
    provide(conn)
    connect(conn)
    put(conn, "k1", max_attempts=2)
    gateway = FakeGateway()

    for _ in range(3):
        sweep(conn, gateway, deadline=plenty)
        ago(conn, "ack_deadline")
    sweep(conn, gateway, deadline=plenty)

    row = conn.execute("select status, attempt, error_message from agent_commands").fetchone()
    reason = "attempt 2 was not acknowledged in time; no attempt is left of 2"
    assert (gateway.command_ids, row) == (["k1", "k1"], ("dead", 2, reason))


def test_the_silence_of_an_agent_that_executes_means_nothing(conn: Connection) -> None:
    """It executes in its read loop: the next command is not sent a second time meanwhile."""
    provide(conn)
    connect(conn)
    put(conn, "k1")
    put(conn, "k2")
    gateway = FakeGateway()
    deliver(conn, gateway, "a1", plenty)
    receive(conn, "a1", "c1", '{"type": "ack", "payload": {"commandId": "k1"}}')
    deliver(conn, gateway, "a1", plenty)

    ago(conn, "ack_deadline")
    busy = sweep(conn, gateway, deadline=plenty).released
    receive(conn, "a1", "c1", '{"type": "complete", "payload": {"commandId": "k1"}}')
    idle = sweep(conn, gateway, deadline=plenty).released

    assert (busy, idle, gateway.command_ids) == (0, 1, ["k1", "k2", "k2"])


def test_a_new_connection_gets_what_was_not_acknowledged_on_the_older_one(conn: Connection) -> None:
    """In order, and an ack that comes late over the older one says nothing of the newer attempt."""
    provide(conn)
    connect(conn)
    for number in range(2):
        put(conn, f"k{number}")
    gateway = FakeGateway()
    deliver(conn, gateway, "a1", plenty)

    connect(conn, connection_id="c2")
    deliver(conn, gateway, "a1", plenty)
    receive(conn, "a1", "c1", '{"type": "ack", "payload": {"commandId": "k0"}}')

    assert (gateway.command_ids, statuses(conn)) == (["k0", "k0"], {"k0": "sent", "k1": "pending"})
    assert [connection for connection, _ in gateway.frames] == ["c1", "c2"]


def test_a_late_result_replaces_a_time_out_and_no_other_end(conn: Connection) -> None:
    """`timed_out` is the service's own guess."""
    provide(conn)
    connect(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    receive(conn, "a1", "c1", '{"type": "ack", "payload": {"commandId": "k1"}}')
    ago(conn, "execution_deadline")
    deadlines.time_out(conn, 10)
    timed_out = statuses(conn)

    receive(conn, "a1", "c1", '{"type": "complete", "payload": {"commandId": "k1"}}')
    receive(conn, "a1", "c1", '{"type": "failed", "payload": {"commandId": "k1", "error": "late"}}')

    assert (timed_out, statuses(conn)) == ({"k1": "timed_out"}, {"k1": "completed"})


def test_a_command_is_not_delivered_before_its_time_nor_after_it(conn: Connection) -> None:
    """Both deadlines are the database's; a full batch of rows that are not due starves nobody."""
    provide(conn)
    connect(conn)
    for number in range(50):
        put(conn, f"later{number}", not_before="2999-01-01")
    put(conn, "late", deliver_by="2020-01-01")
    put(conn, "due")
    gateway = FakeGateway()

    swept = sweep(conn, gateway, deadline=plenty)

    assert (gateway.command_ids, swept.expired) == (["due"], 1)


def test_a_cancel_while_it_is_under_way_ends_it_instead_of_sending_it_again(conn: Connection) -> None:
    """Nothing is delivered after a committed cancel."""
    provide(conn)
    connect(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    conn.execute("update agent_commands set cancel_requested_at = now()")

    ago(conn, "ack_deadline")
    sweep(conn, FakeGateway(), deadline=plenty)

    assert statuses(conn) == {"k1": "cancelled"}


def test_a_throttled_post_holds_the_whole_queue_and_kills_no_connection(conn: Connection) -> None:
    """Nothing overtakes what was refused."""
    provide(conn)
    connect(conn)
    put(conn, "k1")
    put(conn, "k2")
    gateway = FakeGateway(outcomes=[Posted.REFUSED])

    deliver(conn, gateway, "a1", plenty)
    held = deliver(conn, gateway, "a1", plenty).claimed
    conn.execute("update agents set throttled_until = now()")
    deliver(conn, gateway, "a1", plenty)

    assert (held, gateway.command_ids) == (0, ["k1"])


def test_a_command_that_comes_while_another_holds_the_lease_is_delivered_by_the_holder(
    conn: Connection, database_url: str
) -> None:
    """The lost wake-up: who found the lease taken has left its command to the holder."""
    provide(conn)
    connect(conn)
    conn.execute("update agents set delivery_window = 10")
    put(conn, "k1")
    turned_away: list[object] = []

    def submit_meanwhile(_frame: str) -> None:
        gateway.before_post = None
        with open_connection(database_url) as other:
            put(other, "k2")
            turned_away.append(claims.claim(other, "a1"))

    gateway = FakeGateway(before_post=submit_meanwhile)

    deliver(conn, gateway, "a1", plenty)

    assert (turned_away, gateway.command_ids) == ([None], ["k1", "k2"])


def test_many_deliverers_at_once_send_each_command_once_and_in_order(conn: Connection, database_url: str) -> None:
    """Ten threads, one agent, one lease."""
    provide(conn)
    connect(conn)
    conn.execute("update agents set delivery_window = 100")
    for number in range(60):
        put(conn, f"k{number:02}")
    gateway = FakeGateway()

    def work() -> None:
        with open_connection(database_url) as other:
            deliver(other, gateway, "a1", plenty)

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert gateway.command_ids == [f"k{number:02}" for number in range(60)]


def test_the_claim_walks_the_agents_own_queue_and_nobody_elses(conn: Connection) -> None:
    """The index trap: with 20,000 rows of others and fresh statistics, the plan reads this agent's rows only."""
    provide(conn)
    connect(conn)
    conn.execute(
        "insert into agent_commands (agent_id, action) select 'away-' || n % 7, 'noop' from generate_series(1, 20000) n"
    )
    put(conn, "k1")
    conn.execute("analyze agent_commands")

    plan = conn.execute(
        """explain (analyze, buffers, costs off, timing off, summary off)
           select command_id from agent_commands where agent_id = 'a1' and status = 'pending'
           order by priority desc, seq limit 10 for update skip locked"""
    ).fetchall()

    text = "\n".join(line for (line,) in plan)
    assert "agent_commands_due" in text
    assert "Rows Removed by Filter" not in text


@pytest.mark.parametrize(
    ("column", "value"),
    [("created_at", "infinity"), ("deliver_by", "4713-01-01 BC"), ("not_before", "infinity"), ("priority", 1000)],
)
def test_what_no_client_could_decode_is_refused_where_it_is_inserted(conn: Connection, column: str, value: Any) -> None:
    """With the constraint's name, so that who uses psql learns why."""
    provide(conn)

    with pytest.raises((errors.CheckViolation, errors.NumericValueOutOfRange)):
        put(conn, "k1", **{column: value})
