"""Cancellation: a pending command ends at once; for one under way it is intent that waits until the agent has heard."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

import pytest

from dispatcher.access import audit_log
from dispatcher.access.roles import Credential, Operator, Role
from dispatcher.agents import connections
from dispatcher.commands import cancellation, command_records
from dispatcher.commands.delivery import deliver
from dispatcher.commands.explanation import explain
from dispatcher.commands.sweep import sweep
from dispatcher.errors import Conflict, UnknownCommand
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.gateway import Posted
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import (
    PAST,
    connect,
    connect_new_agent,
    find,
    move_into_past,
    put,
    report,
    report_of,
    statuses,
    waits_for_lock,
)

OPERATOR = Operator(username="ann", role=Role.SENDER)


def test_a_cancelled_command_that_is_under_way_ends_and_is_not_sent_again(conn: Connection) -> None:
    """I14: nothing is delivered after a committed cancel, even if the agent does not answer."""
    connect_new_agent(conn)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    under_way = cancellation.request_cancel(conn, "k1", OPERATOR)

    move_into_past(conn, "ack_deadline")
    sweep(conn, FakeGateway(), deadline=plenty)

    assert under_way is not None
    assert (under_way.status, under_way.attempt) == ("sent", 1)
    assert statuses(conn) == {"k1": "cancelled"}


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "dead", "cancelled"])
def test_an_ended_command_gets_no_cancel_request(conn: Connection, status: str) -> None:
    """I6: an end is final, in every column."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1", status=status, attempt=1)

    answer = cancellation.request_cancel(conn, "k1", OPERATOR)

    assert answer is None
    assert find(conn).cancel_requested_at is None


def test_an_agent_can_confirm_only_a_requested_cancel(conn: Connection) -> None:
    """An agent cannot cancel a command by itself."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=32)
    gateway = FakeGateway()
    put(conn, "k1")
    put(conn, "k2")
    deliver(conn, gateway, "a1", plenty)
    conn.execute("update agent_commands set cancel_requested_at = now() where command_id = 'k1'")

    report(conn, report_of("cancelled", "k1"), report_of("cancelled", "k2"))

    assert statuses(conn) == {"k1": "cancelled", "k2": "sent"}


def test_a_retryable_failure_ends_a_command_with_a_requested_cancel(conn: Connection) -> None:
    """I14: the command is not sent again."""
    connect_new_agent(conn, window=10)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    conn.execute("update agent_commands set cancel_requested_at = now()")

    report(conn, report_of("failed", error="busy", retryable=True))

    assert statuses(conn) == {"k1": "failed"}


def stops(gateway: FakeGateway) -> list[tuple[str, str]]:
    """Return the requests to stop that were posted: connection and command."""
    return [
        (connection_id, message["commandId"])
        for connection_id, message in zip(gateway.connection_ids, gateway.messages, strict=True)
        if message["type"] == "cancel"
    ]


def connect_again(conn: Connection, number: int) -> None:
    """Connect the agent of protocol 2 again, over c2, c3 and so on."""
    connect(conn, connection_id=f"c{number}", mode=DeliveryMode.BATCHING, window=9)


@pytest.fixture
def executing(conn: Connection) -> None:
    """An agent of protocol 2 that executes a command."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    report(conn, report_of("ack"))


@pytest.mark.usefixtures("executing")
def test_a_cancel_is_offered_on_each_connection_until_the_command_ends(conn: Connection) -> None:
    """D4, I18: once for each connection, by whoever delivers next: a gap loses nothing."""
    connections.forget(conn, "a1", "c1")
    cancellation.cancel(conn, FakeGateway(), "k1", OPERATOR, plenty)
    gateway = FakeGateway()

    for number in (2, 3):
        connect_again(conn, number)
        for _ in range(2):
            sweep(conn, gateway, deadline=plenty)
    report(conn, report_of("cancelled"), connection_id="c3")
    connect_again(conn, 4)
    sweep(conn, gateway, deadline=plenty)

    assert stops(gateway) == [("c2", "k1"), ("c3", "k1")]
    assert statuses(conn) == {"k1": "cancelled"}


@pytest.mark.usefixtures("executing")
@pytest.mark.parametrize("posted", [Posted.REFUSED, Posted.UNKNOWN, Posted.GONE])
def test_a_cancel_whose_post_failed_is_offered_again_and_not_at_once(conn: Connection, posted: Posted) -> None:
    """I18: a refused post loses nothing, and a gateway that refuses is not asked in a loop."""
    tried: list[str] = []
    failing = FakeGateway(outcomes=[posted] * 50, before_post=tried.append)

    cancellation.cancel(conn, failing, "k1", OPERATOR, plenty)
    after_the_cancel = len(tried)
    if posted is Posted.GONE:
        connect_again(conn, 2)
    conn.execute("update agents set throttled_until = null")
    gateway = FakeGateway()
    sweep(conn, gateway, deadline=plenty)

    assert after_the_cancel == 1
    assert [command_id for _, command_id in stops(gateway)] == ["k1"]


def test_a_refused_cancel_holds_back_the_commands_behind_it_without_an_attempt(conn: Connection) -> None:
    """D1: they were claimed with it and reached nobody."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    put(conn, "k1", status="acknowledged", attempt=1, epoch=1, stop_wanted=True, cancel_requested_at=PAST)
    put(conn, "k2", max_attempts=1)

    deliver(conn, FakeGateway(outcomes=[Posted.REFUSED]), "a1", plenty)

    history = [entry.cause for entry in command_records.history(conn, "k2", None)]
    assert (find(conn, "k2").status, find(conn, "k2").attempt) == ("pending", 0)
    assert history[-1] == "a request to stop another command was refused by the gateway"


@pytest.mark.usefixtures("executing")
def test_an_agent_is_told_to_stop_at_its_execution_timeout(conn: Connection) -> None:
    """D9: over this connection, and over the next ones until it reports an end."""
    move_into_past(conn, "execution_deadline")
    gateway = FakeGateway()

    sweep(conn, gateway, deadline=plenty)
    why = explain(conn, "k1", None)
    connect_again(conn, 2)
    sweep(conn, gateway, deadline=plenty)
    report(conn, report_of("cancelled"), connection_id="c2")

    assert stops(gateway) == [("c1", "k1"), ("c2", "k1")]
    assert why.reason == "timed-out"
    assert why.sentence.endswith("The agent was told to stop it, and has not answered yet.")
    assert statuses(conn) == {"k1": "cancelled"}


@pytest.mark.usefixtures("executing")
def test_a_command_that_timed_out_can_be_cancelled_again_and_again(conn: Connection) -> None:
    """D9: each request has the agent told once more, over the same connection too."""
    move_into_past(conn, "execution_deadline")
    gateway = FakeGateway()
    sweep(conn, gateway, deadline=plenty)

    answers = [cancellation.cancel(conn, gateway, "k1", OPERATOR, plenty).status for _ in range(2)]

    assert answers == ["timed_out", "timed_out"]
    assert stops(gateway) == [("c1", "k1")] * 3


@pytest.mark.parametrize(("told", "sentence"), [(True, "was told to stop it"), (False, "as soon as it can be reached")])
@pytest.mark.usefixtures("executing")
def test_why_tells_whether_the_agent_was_told(conn: Connection, sentence: str, *, told: bool) -> None:
    """D4: it said "was asked to cancel" although nothing had been sent."""
    if not told:
        connections.forget(conn, "a1", "c1")

    cancellation.cancel(conn, FakeGateway(), "k1", OPERATOR, plenty)

    assert sentence in explain(conn, "k1", None).sentence


def test_an_agent_of_the_first_protocol_is_never_told_to_stop(conn: Connection) -> None:
    """Both of StreamSpace's agents would drop the message, or worse."""
    connect_new_agent(conn)
    put(conn, "k1", status="acknowledged", attempt=1, epoch=1)
    gateway = FakeGateway()

    cancellation.cancel(conn, gateway, "k1", OPERATOR, plenty)
    move_into_past(conn, "execution_deadline")
    sweep(conn, gateway, deadline=plenty)

    assert gateway.frames == []


@pytest.mark.parametrize("status", ["completed", "failed", "dead", "expired"])
def test_a_cancel_of_an_ended_command_is_a_conflict(conn: Connection, status: str) -> None:
    """I6; a cancelled one stays cancelled without an error."""
    connect_new_agent(conn)
    put(conn, "k1", status=status, attempt=1)
    put(conn, "k2", status="cancelled")

    with pytest.raises(Conflict):
        cancellation.cancel(conn, FakeGateway(), "k1", OPERATOR, plenty)

    assert cancellation.cancel(conn, FakeGateway(), "k2", OPERATOR, plenty).status == "cancelled"
    assert conn.execute("select count(*) from audit_log").fetchone() == (0,)


def test_a_cancel_that_waited_tells_an_agent_that_connected_meanwhile(conn: Connection, database_url: str) -> None:
    """I18: whether it is connected is asked once the command's row is ours."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    put(conn, "k1", status="acknowledged", attempt=1, epoch=1)
    conn.execute("update agents set connection_id = null")
    gateway = FakeGateway()
    with (
        open_connection(database_url) as other,
        open_connection(database_url) as watch,
        ThreadPoolExecutor() as threads,
    ):
        with other.transaction():
            other.execute("select from agent_commands for no key update")
            cancelled = threads.submit(cancellation.cancel, conn, gateway, "k1", OPERATOR, plenty)
            while not cancelled.done() and not waits_for_lock(watch, conn):
                time.sleep(0.001)
            connect(watch, connection_id="c2", mode=DeliveryMode.BATCHING, window=9)
            deliver(watch, gateway, "a1", plenty)
        cancelled.result()

    assert stops(gateway) == [("c2", "k1")]


@pytest.mark.parametrize("status", ["pending", "sent", "acknowledged", "timed_out"])
def test_each_cancel_has_one_entry_with_all_that_is_known_of_it(conn: Connection, status: str) -> None:
    """Whether the command ends at once or its agent is to be told."""
    token = UUID("00000000-0000-4000-8000-000000000001")
    credential = Credential(issued_at=0, token_ids=(token,))
    by = replace(OPERATOR, source_ip="192.0.2.9", reason='100 % "wrong"', credential=credential)
    connect_new_agent(conn)
    put(conn, "k1", status=status, attempt=0 if status == "pending" else 1, epoch=1)

    cancellation.cancel(conn, FakeGateway(), "k1", by, plenty)

    (entry,) = audit_log.list_page(conn, agent_id="a1", command_id="k1", actor=None, before=None, limit=9)
    assert (entry.actor, entry.source_ip, entry.token_id) == ("ann", "192.0.2.9", token)
    assert (entry.action, entry.detail) == ("cancel command", {"reason": '100 % "wrong"'})


def test_a_command_that_comes_into_an_operators_limit_is_no_conflict(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its agent got another label after the cancel did not find it, and before the answer."""
    connect_new_agent(conn)
    put(conn, "k1")

    def does_not_find_it(*_: object) -> None:
        """As with a limit that does not cover it yet."""

    monkeypatch.setattr(cancellation, "request_cancel", does_not_find_it)

    with pytest.raises(UnknownCommand):
        cancellation.cancel(conn, FakeGateway(), "k1", OPERATOR, plenty)


def test_many_requests_to_stop_are_all_told(conn: Connection) -> None:
    """A claim takes a hundred of them."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    for number in range(130):
        put(conn, f"k{number}", status="acknowledged", attempt=1, epoch=1, stop_wanted=True)
    gateway = FakeGateway()

    deliver(conn, gateway, "a1", plenty)

    assert stops(gateway) == [("c1", f"k{number}") for number in range(130)]
