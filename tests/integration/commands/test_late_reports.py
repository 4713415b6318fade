"""Late reports: what agents say while the database cannot be reached is kept, and settled when it is back."""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import psycopg
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from dispatcher.commands import conversation, late_reports
from dispatcher.commands.delivery import deliver
from dispatcher.commands.late_reports import kept_of
from dispatcher.commands.reports import receive
from dispatcher.platform import database
from dispatcher.platform.database import Connection, open_connection
from dispatcher.protocol.handshake import DeliveryMode
from dispatcher.protocol.said import Said
from dispatcher.sessions.session_records import SessionStates
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, connect_new_agent, find, put, put_session, report_of, statuses

NOBODY = "postgresql://nobody@127.0.0.1:9/nothing"


@dataclass(slots=True)
class Queue:
    """A FIFO queue of SQS: it drops what it has seen, and gives messages back in their order."""

    taken: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    given_up: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    refuse: bool = False
    receives: int = 1

    def answer(self, request: Request) -> Response:
        """Answer SendMessage."""
        assert request.headers["X-Amz-Target"] == "AmazonSQS.SendMessage"
        if self.refuse:
            return Response('{"__type": "com.amazonaws.sqs#OverLimit"}', status=403)
        message = json.loads(request.data)
        if message["QueueUrl"].endswith("/failed-events"):
            self.given_up.append(json.loads(message["MessageBody"]))
            return Response(json.dumps({"MessageId": "m", "MD5OfMessageBody": _md5(message["MessageBody"])}))
        seen = {each["MessageDeduplicationId"] for each in self.taken}
        if message["MessageDeduplicationId"] not in seen:
            self.taken.append(message)
        return Response(json.dumps({"MessageId": "m", "MD5OfMessageBody": _md5(message["MessageBody"])}))

    def event(self) -> dict[str, Any]:
        """Return the event that Lambda makes of the messages."""
        return {
            "Records": [
                {
                    "messageId": f"m{number}",
                    "body": each["MessageBody"],
                    "attributes": {
                        "MessageGroupId": each["MessageGroupId"],
                        "ApproximateReceiveCount": str(self.receives),
                    },
                }
                for number, each in enumerate(self.taken)
            ]
        }


def _md5(text: str) -> str:

    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@pytest.fixture
def queue(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    """The queue, and an environment whose database cannot be reached."""
    made = Queue()
    httpserver.expect_request("/", method="POST").respond_with_handler(made.answer)
    for name, value in {
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL_SQS": httpserver.url_for(""),
        "FAILED_EVENTS_QUEUE_URL": httpserver.url_for("/123456789012/failed-events"),
        "LATE_REPORTS_QUEUE_URL": httpserver.url_for("/123456789012/late-reports.fifo"),
        "DATABASE_URL": NOBODY,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(database, "_kept", None)
    monkeypatch.setattr(database, "RETRY_PAUSES", (0.01, 0.01))
    late_reports._client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    yield made
    late_reports._client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    if database._kept is not None:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        database._kept.close()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def say_late(
    text: str, event_id: str, agent_id: str = "a1", connection_id: str = "c1", said_at: int | None = None
) -> None:
    """Say something through the function `message`."""
    said = Said(agent_id=agent_id, connection_id=connection_id, text=text, said_at=said_at)
    conversation.handle(said, event_id, FakeGateway(), SessionStates(), plenty)


def message(kind: str, command_id: str, **fields: Any) -> str:
    """Return a message of the first protocol."""
    return json.dumps({"type": kind, "payload": {"commandId": command_id, **fields}})


def settle(queue: Queue, gateway: FakeGateway | None = None) -> list[str]:
    """Settle what the queue has; return the ids that must come again."""
    kept = kept_of(queue.event())
    return conversation.handle_kept(kept, gateway or FakeGateway(), SessionStates(), plenty)


def test_what_is_said_during_an_outage_is_settled_in_order_after_it(
    conn: Connection, database_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D2, I17: acks and results of two commands, the first over a connection that has ended since."""
    connect_new_agent(conn, mode=DeliveryMode.ACKNOWLEDGING)
    put(conn, "k1", execution_timeout=900)
    put(conn, "k2")
    deliver(conn, FakeGateway(), "a1", plenty)

    for number, kind in enumerate(("ack", "complete")):
        say_late(message(kind, "k1", result={"n": 1}), f"e{number}")
    connect(conn, connection_id="c2")
    during = statuses(conn)
    monkeypatch.setenv("DATABASE_URL", database_url)
    gateway = FakeGateway()
    again = settle(queue, gateway)

    assert during == {"k1": "pending", "k2": "pending"}
    assert again == []
    assert find(conn, "k1").result == {"n": 1}
    assert statuses(conn)["k1"] == "completed"


def test_reports_that_are_settled_twice_do_no_harm(
    conn: Connection, database_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I17: the queue may deliver a batch again, when a later attempt is under way."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    put(conn, "k1")
    put(conn, "k2")
    deliver(conn, FakeGateway(), "a1", plenty)
    failure = report_of("failed", "k1", error="busy", retryable=True)
    say_late(json.dumps({"type": "reports", "reports": [report_of("ack", "k1"), failure]}), "e0")
    say_late(json.dumps({"type": "reports", "id": "r", "reports": [report_of("complete", "k2", result=1)]}), "e1")
    monkeypatch.setenv("DATABASE_URL", database_url)
    gateway = FakeGateway()

    settle(queue, gateway)
    conn.execute("update agent_commands set retry_at = null")
    deliver(conn, FakeGateway(), "a1", plenty)
    before = conn.execute("select * from agent_commands order by seq").fetchall()
    settle(queue, gateway)

    assert conn.execute("select * from agent_commands order by seq").fetchall() == before
    assert statuses(conn) == {"k1": "sent", "k2": "completed"}
    assert gateway.messages == [{"type": "received", "id": "r"}] * 2


def test_one_event_that_is_handled_twice_is_kept_once(queue: Queue) -> None:
    """And two equal messages are two: an agent may say the same thing twice."""
    for event_id in ("e0", "e0", "e1"):
        say_late(message("ack", "k1"), event_id)

    assert len(queue.taken) == 2


def test_order_is_kept_for_each_agent_and_agents_do_not_wait_for_each_other(queue: Queue) -> None:
    """Each agent is a group of the queue, whatever characters its id has."""
    for number, agent_id in enumerate(("a1", "a2", "ä/☃", "a1", "x" * 200)):
        say_late(message("ack", f"k{number}"), f"e{number}", agent_id)

    groups = [each["MessageGroupId"] for each in queue.taken]
    assert groups[0] == groups[3]
    assert len(set(groups)) == 4
    assert all(len(group) <= 128 and group.isalnum() for group in groups)
    assert [kept.said.agent_id for kept in kept_of(queue.event())] == ["a1", "a2", "ä/☃", "a1", "x" * 200]


@pytest.mark.parametrize("text", ["\\", '"' * 60_000, "д" * 60_000, "\ud800\uffff", "\u0001\0"])
def test_any_message_can_be_kept(queue: Queue, text: str) -> None:
    """SQS refuses some characters, so the body has only ASCII; it takes up to 1 MiB."""
    say_late(text, "e0")

    body = queue.taken[0]["MessageBody"]
    assert body.isascii()
    assert len(body) < 2**20
    assert kept_of(queue.event())[0].said.text == text


def test_what_the_queue_does_not_take_is_an_error_of_the_function(queue: Queue) -> None:
    """It is seen in the metrics, and nothing is confirmed."""
    queue.refuse = True

    with pytest.raises(Exception, match="SendMessage"):
        say_late(message("ack", "k1"), "e0")


def test_without_a_queue_an_outage_is_an_error_of_the_function(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a silent loss."""
    monkeypatch.delenv("LATE_REPORTS_QUEUE_URL")

    with pytest.raises(psycopg.OperationalError):
        say_late(message("ack", "k1"), "e0")
    assert queue.taken == []


def test_a_message_is_kept_while_there_is_time_to_keep_it(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tries take 3 to 6 s each where a server does not answer; the function ends after 15 s."""
    tried: list[str] = []

    def connect_slowly(url: str) -> Connection:
        tried.append(url)
        raise psycopg.OperationalError

    monkeypatch.setattr(database, "open_connection", connect_slowly)
    said = Said(agent_id="a1", connection_id="c1", text=message("ack", "k1"))

    conversation.handle(said, "e0", FakeGateway(), SessionStates(), lambda: 15.0 - 5.0 * len(tried))

    assert len(tried) == 1
    assert len(queue.taken) == 1


def test_messages_of_an_agent_wait_behind_one_that_cannot_be_settled(
    conn: Connection, database_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I17: order holds; another agent's messages are settled."""
    for name in ("a1", "a2"):
        connect_new_agent(conn, name, f"c-{name}")
        for number in (1, 2):
            put(conn, f"{name}-{number}", name, status="acknowledged", attempt=1, epoch=1)
    for number in (1, 2):
        for name in ("a1", "a2"):
            say_late(message("complete", f"{name}-{number}"), f"{name}-{number}", name, f"c-{name}")
    monkeypatch.setenv("DATABASE_URL", database_url)
    conn.execute(f"alter role current_user in database {conn.info.dbname} set lock_timeout = '100ms'".encode())
    with open_connection(database_url) as other, other.transaction():
        other.execute("select from agent_commands where command_id = 'a1-1' for update")
        again = settle(queue)
        while_locked = statuses(conn)
    settle(queue)

    assert again == ["m0", "m2"]
    assert while_locked == {
        "a1-1": "acknowledged",
        "a1-2": "acknowledged",
        "a2-1": "completed",
        "a2-2": "completed",
    }
    assert set(statuses(conn).values()) == {"completed"}


def test_a_message_that_can_never_be_settled_stops_no_other_agent(
    conn: Connection, database_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I11: the queue sets it aside after some tries."""
    for name in ("a1", "a2"):
        connect_new_agent(conn, name, f"c-{name}")
        put(conn, f"k-{name}", name, status="acknowledged", attempt=1, epoch=1)
        say_late(message("complete", f"k-{name}"), name, name, f"c-{name}")
    conn.execute("alter table agent_commands add check (command_id <> 'k-a1' or status <> 'completed')")
    monkeypatch.setenv("DATABASE_URL", database_url)

    again = settle(queue)

    assert again == ["m0"]
    assert statuses(conn) == {"k-a1": "acknowledged", "k-a2": "completed"}


def test_a_late_report_of_an_agent_that_has_lost_its_right_does_not_count(
    conn: Connection, database_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I22: it was rejected during the outage."""
    connect_new_agent(conn)
    put(conn, "k1", status="acknowledged", attempt=1, epoch=1)
    say_late(message("complete", "k1"), "e0")
    conn.execute("update agents set approval = 'rejected'")
    monkeypatch.setenv("DATABASE_URL", database_url)

    again = settle(queue)

    assert again == []
    assert statuses(conn) == {"k1": "acknowledged"}


def test_late_progress_does_not_replace_newer_progress(
    conn: Connection, database_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I17: the older one is settled last; what was said after the newer one counts again."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    put(conn, "k1", status="acknowledged", attempt=1, epoch=1)

    def said(percent: int) -> str:
        return json.dumps({"type": "reports", "reports": [report_of("progress", progress=percent)]})

    say_late(said(10), "e0", said_at=1_000)
    monkeypatch.setenv("DATABASE_URL", database_url)
    say_late(said(50), "e1", said_at=2_000)
    settle(queue)
    after_late = find(conn).progress
    say_late(said(60), "e2", said_at=2_000)

    assert after_late == 50
    assert find(conn).progress == 60


@pytest.mark.parametrize("kinds", list(product(["status", "complete"], repeat=2)), ids="-".join)
def test_what_was_said_earlier_of_a_session_does_not_replace_its_state(
    conn: Connection, database_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, str]
) -> None:
    """I17: it was kept while the database was away, and is settled last; those of its details that are new count."""
    connect_new_agent(conn)
    put_session(conn, "s")
    for number, action in enumerate(("start_session", "hibernate_session")):
        put(conn, f"k{number}", session_id="s", action=action, status="acknowledged", attempt=1, epoch=1)

    def said(number: int, state: str, **details: Any) -> str:
        fields = {"sessionId": "s", "state": state, **details}
        body = fields if kinds[number] == "status" else {"commandId": f"k{number}", "result": fields}
        return json.dumps({"type": kinds[number], "payload": body})

    say_late(said(0, "running", podIP="10.0.0.1", vncPort=3000), "e0", said_at=1_000)
    monkeypatch.setenv("DATABASE_URL", database_url)
    say_late(said(1, "hibernated", podIP="10.0.0.2"), "e1", said_at=2_000)

    settle(queue)

    known = conn.execute("select known_state, details from sessions").fetchone()
    assert known == ("hibernated", {"podIP": "10.0.0.2", "vncPort": 3000})


def test_a_late_report_delivers_what_the_window_then_admits(
    conn: Connection, database_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent waits for its next command."""
    connect_new_agent(conn)
    put(conn, "k1", status="sent", attempt=1, epoch=1)
    put(conn, "k2")
    say_late(message("complete", "k1"), "e0")
    monkeypatch.setenv("DATABASE_URL", database_url)
    gateway = FakeGateway()

    settle(queue, gateway)

    assert gateway.command_ids == ["k2"]


def test_a_binary_message_is_kept_as_its_text(queue: Queue) -> None:
    """The event is decoded before."""
    event = {
        "requestContext": {
            "connectionId": "c1",
            "requestId": "e0",
            "requestTimeEpoch": 1795428000000,
            "authorizer": {"agentId": "a1", "keyId": "k"},
        },
        "body": base64.b64encode("ä".encode()).decode(),
        "isBase64Encoded": True,
    }

    conversation.handle(Said.from_event(event), "e0", FakeGateway(), SessionStates(), plenty)

    assert kept_of(queue.event())[0].said == Said(
        agent_id="a1", connection_id="c1", text="ä", key_id="k", event_id="e0", said_at=1795428000000
    )


@pytest.mark.parametrize("receives", [9, 10])
@pytest.mark.parametrize("passing", [True, False])
def test_a_message_that_can_never_be_settled_does_not_stop_its_agent_for_good(
    conn: Connection,
    database_url: str,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    receives: int,
    *,
    passing: bool,
) -> None:
    """After ten tries people get it, and the later reports of its agent are settled; an outage never counts."""
    connect_new_agent(conn, mode=DeliveryMode.ACKNOWLEDGING)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    say_late(message("ack", "never"), "e0")
    say_late(message("ack", "k1"), "e1")
    monkeypatch.setenv("DATABASE_URL", database_url)

    def fail(conn: Connection, said: Said, observer: SessionStates) -> Any:
        if "never" in said.text:
            raise psycopg.OperationalError if passing else psycopg.DataError
        return receive(conn, said, observer)

    monkeypatch.setattr("dispatcher.commands.late_reports.receive", fail)
    queue.receives = receives
    again = settle(queue)

    gives_up = receives == late_reports.GIVE_UP_AFTER and not passing
    assert again == ([] if gives_up else ["m0", "m1"])
    assert [each["reason"] for each in queue.given_up] == (["DataError"] if gives_up else [])
    assert statuses(conn) == {"k1": "acknowledged" if gives_up else "sent"}


def test_a_message_that_a_newer_release_kept_is_read() -> None:
    """Both serve from one queue during a release, and after a step back."""
    said = Said(agent_id="a1", connection_id="c1", text="{}")

    assert Said.from_document({**said.as_document(), "of_a_newer_release": 1}) == said
