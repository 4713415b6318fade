"""Flush: after the handshake the agent's queue is delivered, in a separate invocation."""

import contextlib
import json
import time
from dataclasses import dataclass

import pytest

from dispatcher.agents import connections
from dispatcher.agents.connections import Origin
from dispatcher.commands import claims, conversation, flush, redelivery
from dispatcher.commands.delivery import Delivered, deliver
from dispatcher.commands.flush import FlushRequest
from dispatcher.commands.sweep import sweep
from dispatcher.platform import database
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Posted
from dispatcher.protocol.handshake import DeliveryMode, Handshake
from dispatcher.protocol.said import Said
from dispatcher.sessions.session_records import SessionStates
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, connect_new_agent, create_agent, find, put, receive, report_of, say, statuses

REQUEST = FlushRequest(agent_id="a1", connection_id="c1", epoch=1)


@dataclass(slots=True)
class SlowGateway(FakeGateway):
    """A gateway whose connection is live only from the n-th check on, because `$connect` has not returned before."""

    live_at: int = 3
    looks: int = 0

    def is_live(self, connection_id: str) -> bool:
        """Count the check."""
        del connection_id
        self.looks += 1
        return self.looks >= self.live_at

    def post(self, connection_id: str, frame: str) -> Posted:
        """Answer "gone" to a post that comes too early."""
        if self.looks < self.live_at:
            return Posted.GONE
        return FakeGateway.post(self, connection_id, frame)


def record(
    conn: Connection, gateway: FakeGateway, connection_id: str = "c1", *, mode: DeliveryMode | None = None
) -> FlushRequest:
    """Record a connection whose handshake is not over."""
    opened = connections.open_connection(conn, "a1", connection_id, handshake=Handshake(mode=mode), origin=Origin())
    assert opened is not None
    connections.close_superseded(gateway, opened)
    return FlushRequest.of_new("a1", connection_id, opened)


def test_flush_waits_until_the_handshake_is_over_and_then_delivers(conn: Connection) -> None:
    """R10 to R12: the queue is delivered on reconnect, and not before the agent can be reached."""
    create_agent(conn)
    put(conn, "k1")
    gateway = SlowGateway()
    request = record(conn, gateway)

    delivered = flush.flush(conn, gateway, request, plenty)

    assert delivered.sent == 1
    assert gateway.command_ids == ["k1"]
    assert statuses(conn) == {"k1": "sent"}


def test_nothing_is_posted_while_the_handshake_is_under_way(conn: Connection) -> None:
    """A post would find the connection gone and forget it."""
    create_agent(conn)
    request = record(conn, FakeGateway())
    put(conn, "k1")
    gateway = FakeGateway()

    during = deliver(conn, gateway, "a1", plenty)
    after = flush.flush(conn, gateway, request, plenty)

    assert during.claimed == 0
    assert after.sent == 1


def test_flush_stops_at_once_if_a_newer_connection_exists(conn: Connection) -> None:
    """The newer connection has its own flush."""
    connect_new_agent(conn)
    connect(conn, connection_id="c2")
    gateway = SlowGateway(live_at=99)

    flush.flush(conn, gateway, REQUEST, lambda: 1.0)

    assert gateway.looks == 1


def test_flush_does_not_wait_for_ever_for_a_handshake(conn: Connection) -> None:
    """The client may have disconnected meanwhile; the sweep delivers the rest."""
    connect_new_agent(conn)
    gateway = SlowGateway(live_at=1000)

    delivered = flush.flush(conn, gateway, REQUEST, lambda: 0.2)

    assert delivered == Delivered()
    assert 1 < gateway.looks < 9


def test_the_last_of_several_processes_with_one_agent_id_gets_the_commands(conn: Connection) -> None:
    """R35: each connection has its own epoch, and the older ones are closed."""
    create_agent(conn)
    put(conn, "k1")
    gateway = FakeGateway()

    requests = [record(conn, gateway, f"c{number}") for number in range(3)]
    for request in requests:
        flush.flush(conn, gateway, request, plenty)

    assert [request.epoch for request in requests] == [1, 2, 3]
    assert gateway.connection_ids == ["c2"]
    assert set(gateway.closed) == {"c0", "c1"}


def test_a_doubled_connect_event_records_one_connection(conn: Connection) -> None:
    """The second event closes no connection, and acks over it go on counting."""
    connect_new_agent(conn)
    gateway = FakeGateway()
    again = record(conn, gateway)
    claims.claim_live(conn, "a1", again.epoch)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    say(conn, "ack", commandId="k1")

    assert gateway.closed == []
    assert statuses(conn) == {"k1": "acknowledged"}


def test_a_late_flush_does_not_mark_the_newer_connection_as_live(conn: Connection) -> None:
    """I8: the handshake of the newer connection may still be under way."""
    connect_new_agent(conn)
    record(conn, FakeGateway(), "c2")

    claims.claim_live(conn, "a1", 1)

    assert conn.execute("select live, epoch from agents").fetchone() == (False, 2)


def test_an_agent_of_protocol_2_gets_a_welcome_first(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rhythm, and how it reconnects; then its queue."""
    monkeypatch.setenv("HEARTBEAT_SECONDS", "7")
    create_agent(conn)
    put(conn, "k1")
    request = record(conn, FakeGateway(), mode=DeliveryMode.BATCHING)
    gateway = FakeGateway(outcomes=[Posted.GONE, Posted.REFUSED])

    before = deliver(conn, gateway, "a1", plenty).claimed
    flush.flush(conn, gateway, request, plenty)

    welcome, commands = gateway.messages
    assert before == 0
    assert welcome == {
        "type": "welcome",
        "epoch": 1,
        "heartbeatSeconds": 7,
        "moveAfterSeconds": 6300,
        "reconnect": {"minSeconds": 1, "spreadSeconds": 30},
    }
    assert [command["commandId"] for command in commands["commands"]] == ["k1"]


def test_a_welcome_that_is_lost_with_its_flush_is_sent_by_the_sweep(conn: Connection) -> None:
    """Before the first command, by another flush."""
    create_agent(conn)
    record(conn, FakeGateway(), mode=DeliveryMode.BATCHING)
    put(conn, "k1")
    conn.execute("update agents set connected_at = now() - interval '11 seconds'")
    gateway = FakeGateway()
    invoked: list[FlushRequest] = []

    sweep(conn, gateway, deadline=plenty, hand_over=invoked.append)
    for request in invoked:
        flush.flush(conn, gateway, request, plenty)

    assert [message["type"] for message in gateway.messages] == ["welcome", "commands"]


def test_reports_before_the_welcome_are_confirmed_after_it(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The welcome is the first message, also to an agent that speaks at once; flush does not repeat it."""
    monkeypatch.setattr(database, "connect", lambda: contextlib.nullcontext(conn))
    monkeypatch.setattr(flush, "FLUSH_PATIENCE_SECONDS", 0.0)
    create_agent(conn)
    put(conn, "k1", status="acknowledged", attempt=1, epoch=0)
    put(conn, "k2")
    gateway = FakeGateway()
    request = record(conn, gateway, mode=DeliveryMode.BATCHING)
    text = json.dumps({"type": "reports", "id": "7", "reports": [report_of("complete")]})

    conversation.handle(Said(agent_id="a1", connection_id="c1", text=text), "e1", gateway, SessionStates(), plenty)
    flush.flush(conn, gateway, request, plenty)

    assert [message["type"] for message in gateway.messages] == ["welcome", "received", "commands"]
    assert statuses(conn) == {"k1": "completed", "k2": "sent"}


def returned(conn: Connection) -> FlushRequest:
    """A command was sent over a connection, which a newer one replaced before the ack."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    return record(conn, FakeGateway(), "c2", mode=DeliveryMode.BATCHING)


def name_k1_in_each_wait(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the agent say, while flush waits, that attempt 1 of its command arrived."""
    words = json.dumps({"type": "resume", "id": "1", "running": [{"commandId": "k1", "attempt": 1}]})

    def say_and_wait(_: float) -> None:
        receive(conn, "a1", "c2", words)

    monkeypatch.setattr(time, "sleep", say_and_wait)


def test_what_the_agent_names_first_is_not_sent_again(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """It arrived over the older connection: the agent moved before its ack."""
    request = returned(conn)
    gateway = FakeGateway()
    name_k1_in_each_wait(conn, monkeypatch)

    flush.flush(conn, gateway, request, plenty)

    assert [message["type"] for message in gateway.messages] == ["welcome"]
    command = find(conn)
    assert (command.status, command.attempt) == ("acknowledged", 1)


def test_an_agent_that_names_nothing_gets_it_again_soon(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may know nothing of it, or not speak at all."""
    monkeypatch.setattr(flush, "RESUME_PATIENCE_SECONDS", 0.05)
    request = returned(conn)
    gateway = FakeGateway()

    flush.flush(conn, gateway, request, plenty)

    assert [message["type"] for message in gateway.messages] == ["welcome", "commands"]
    assert find(conn).attempt == 2


def test_a_worker_that_found_the_older_connection_gone_gives_its_attempt_back_first(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It claimed the command just before the agent moved; so the agent does not name it."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING)
    put(conn, "k1")
    claim = claims.claim(conn, "a1")
    assert claim is not None
    request = record(conn, FakeGateway(), "c2", mode=DeliveryMode.BATCHING)
    receive(conn, "a1", "c2", json.dumps({"type": "resume", "running": []}))
    gateway = FakeGateway()

    def give_back(_: float) -> None:
        outcome = claims.Outcome(posted=Posted.GONE, unsent=claim.commands, unsent_cause="found the connection gone")
        claims.release(conn, claim, outcome, look_again=False)

    monkeypatch.setattr(time, "sleep", give_back)
    flush.flush(conn, gateway, request, plenty)

    assert [message["type"] for message in gateway.messages] == ["welcome", "commands"]
    assert find(conn).attempt == 1


@pytest.mark.parametrize("between", ["the last attempt is given back", "what was before it expires"])
def test_what_comes_back_after_connect_is_not_sent_again_either(
    conn: Connection, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    """Its attempt 1 arrived, and it becomes one of the next commands before flush looks."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING)
    put(conn, "k1", max_attempts=2)
    deliver(conn, FakeGateway(), "a1", plenty)
    conn.execute("update agent_commands set ack_deadline = now() - interval '1 second'")
    redelivery.return_unacknowledged(conn, 10)
    claim = None
    if between == "the last attempt is given back":
        claim = claims.claim(conn, "a1")
        assert claim is not None
    for number in range(0 if claim else 100):
        put(conn, f"before-{number}", priority=1)
    request = record(conn, FakeGateway(), "c2", mode=DeliveryMode.BATCHING)
    if claim is not None:
        outcome = claims.Outcome(posted=Posted.GONE, unsent=claim.commands, unsent_cause="found the connection gone")
        claims.release(conn, claim, outcome, look_again=False)
    conn.execute("update agent_commands set status = 'expired', cause = 'late' where command_id like 'before-%'")
    gateway = FakeGateway()
    name_k1_in_each_wait(conn, monkeypatch)

    flush.flush(conn, gateway, request, plenty)

    assert [message["type"] for message in gateway.messages] == ["welcome"]
    assert (find(conn).status, find(conn).attempt) == ("acknowledged", 1)


def test_one_returned_command_behind_a_new_one_may_have_arrived(conn: Connection) -> None:
    """Each of those that may be next is looked at, and the event of flush tells it."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    put(conn, "k2", priority=1)

    again = record(conn, FakeGateway(), "c2", mode=DeliveryMode.BATCHING)
    conn.execute("update agent_commands set status = 'cancelled', cause = 'by the test' where command_id = 'k1'")
    fresh = record(conn, FakeGateway(), "c3", mode=DeliveryMode.BATCHING)

    assert [again.may_have_arrived, fresh.may_have_arrived] == [True, False]
    assert [FlushRequest.from_event(each.as_event()) for each in (again, fresh)] == [again, fresh]


def test_an_agent_of_the_first_protocol_gets_no_welcome(conn: Connection) -> None:
    """Both of StreamSpace's agents drop what they do not know."""
    create_agent(conn)
    gateway = FakeGateway()

    flush.flush(conn, gateway, record(conn, FakeGateway()), plenty)

    assert gateway.frames == []


def test_the_agents_of_a_list_are_flushed_while_there_is_time(conn: Connection) -> None:
    """The sweep does the rest."""
    for number in range(3):
        connect_new_agent(conn, f"a{number}", f"c{number}")
        put(conn, f"k{number}", f"a{number}")
    left = iter([60.0, 60.0, 60.0, 60.0, 60.0, 60.0, *[10.0] * 9])
    gateway = FakeGateway()

    delivered = flush.flush_agents(conn, gateway, ["a0", "unknown", "a1", "a2"], lambda: next(left))

    assert 0 < delivered.sent < 3
    assert gateway.connection_ids == ["c0", "c1"][: delivered.sent]
