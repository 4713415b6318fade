"""The events on an EventBridge bus: at least once, in order for each agent, whenever the publisher is killed."""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from dispatcher.commands import deadlines
from dispatcher.events import feed, publisher
from dispatcher.events.publisher import Published, publish
from dispatcher.events.sinks import Sink
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.event_bus import BATCH, Entry, EventBridge
from tests.fakes import plenty
from tests.rows import create_agent, put

_aws: Any = boto3  # its clients' types are not installed


class FakeBus:
    """A bus whose answers a test chooses."""

    def __init__(self) -> None:
        self.taken: list[Entry] = []
        self.calls = 0
        self.refuse: set[int] = set()
        """The places, among all entries that were ever put, of those that it refuses."""
        self._count = itertools.count()

    def put(self, entries: Sequence[Entry]) -> list[str | None]:
        """Take what is not to be refused."""
        assert 0 < len(entries) <= BATCH
        self.calls += 1
        answers: list[str | None] = []
        for entry in entries:
            if next(self._count) in self.refuse:
                answers.append("ThrottlingException")
            else:
                self.taken.append(entry)
                answers.append(None)
        return answers

    @property
    def moves(self) -> list[tuple[str, str]]:
        """The agents and the types of the events that were taken, in their order."""
        return [(entry.detail["agentId"], entry.detail_type) for entry in self.taken]


@pytest.fixture
def sink(conn: Connection) -> None:
    """A sink that has come to the present; then things happen to three agents."""
    publish(conn, FakeBus(), deadline=plenty)
    for agent in ("a1", "a2", "a3"):
        create_agent(conn, agent)
        put(conn, f"k-{agent}", agent)
    conn.execute("update agent_commands set status = 'cancelled', completed_at = now(), moves = moves + 1")


STORY = ["agent.created", "command.accepted", "command.cancelled"]


@pytest.mark.usefixtures("sink")
def test_every_event_is_published_once(conn: Connection) -> None:
    """With its type, its time and what the feed says of it; another run finds nothing."""
    bus = FakeBus()

    first = publish(conn, bus, deadline=plenty)
    second = publish(conn, bus, deadline=plenty)

    assert (first, second) == (Published(events_published=9), Published())
    assert bus.calls == 3  # an agent's events follow each other
    for agent in ("a1", "a2", "a3"):
        assert [kind for whose, kind in bus.moves if whose == agent] == STORY
    entry = bus.taken[-1]
    assert entry.source == "agent-command-dispatcher"
    assert entry.detail["type"] == entry.detail_type


@pytest.mark.usefixtures("sink")
@pytest.mark.parametrize("refused", [{0}, {1, 4}, {0, 3, 4, 5}, {2, 5, 6}])
def test_a_refused_event_keeps_the_later_ones_of_its_agent(
    conn: Connection, refused: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bus takes some entries of a call and refuses others."""
    monkeypatch.setattr(publisher, "PAUSES", (0.0, 0.0, 0.0))
    bus = FakeBus()
    bus.refuse = refused

    published = publish(conn, bus, deadline=plenty)

    assert published == Published(events_published=9, events_refused=len(refused))
    for agent in ("a1", "a2", "a3"):
        assert [kind for whose, kind in bus.moves if whose == agent] == STORY


@pytest.mark.usefixtures("sink")
def test_a_bus_that_takes_nothing_is_asked_again_by_the_next_run(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, and the reason is kept."""
    monkeypatch.setattr(publisher, "PAUSES", (0.0,))
    bus = FakeBus()
    bus.refuse = set(range(100))
    publish(conn, bus, deadline=plenty)
    error = conn.execute("select error from sinks where error_since is not null").fetchone()
    bus.refuse = set()

    published = publish(conn, bus, deadline=plenty)

    assert error == ("ThrottlingException",)
    assert published.events_published == 9
    assert conn.execute("select error, error_since, lease_token from sinks").fetchall() == [(None, None, None)]


@pytest.mark.usefixtures("sink")
def test_one_publisher_works_at_a_time(conn: Connection) -> None:
    """One that has lost its lease no longer moves the sink."""
    slow = Sink.take(conn, publisher.SINK)
    bus = FakeBus()
    assert slow is not None

    assert publish(conn, bus, deadline=plenty) == Published()
    conn.execute("update sinks set lease_expires_at = now()")
    assert publish(conn, bus, deadline=plenty).events_published == 9
    assert slow.advance(conn, feed.oldest(conn)) is None
    assert publish(conn, bus, deadline=plenty) == Published()


@pytest.mark.usefixtures("sink")
def test_events_that_were_deleted_meanwhile_are_told_as_a_gap(conn: Connection) -> None:
    """The publisher goes on with the oldest that are kept."""
    conn.execute("update agent_commands set completed_at = '2020-01-01' where agent_id = 'a1'")
    deadlines.prune(conn, 30, 10)
    put(conn, "new", "a1")
    bus = FakeBus()

    assert publish(conn, bus, deadline=plenty).event_gaps == 1
    assert ("a1", "command.accepted") in bus.moves


@pytest.fixture(scope="module")
def eventbridge() -> Iterator[str]:
    """The address of a simulated AWS."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def received(eventbridge: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bus named `fleet` and a rule that sends its events to a queue; call it for the events."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", eventbridge)
    monkeypatch.setenv("EVENT_BUS_NAME", "fleet")
    bus, sqs = _aws.client("events", endpoint_url=eventbridge), _aws.client("sqs", endpoint_url=eventbridge)
    bus.create_event_bus(Name="fleet")
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    url = sqs.create_queue(QueueName="events.fifo", Attributes=attributes)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    bus.put_rule(
        Name="commands",
        EventBusName="fleet",
        EventPattern=json.dumps({"source": ["agent-command-dispatcher"], "detail-type": [{"prefix": "command."}]}),
    )
    target = {"Id": "queue", "Arn": arn, "SqsParameters": {"MessageGroupId": "all"}}
    bus.put_targets(Rule="commands", EventBusName="fleet", Targets=[target])

    def take() -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        while batch := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            messages += [json.loads(message["Body"]) for message in batch]
            for message in batch:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return messages

    yield take
    sqs.delete_queue(QueueUrl=url)
    bus.remove_targets(Rule="commands", EventBusName="fleet", Ids=["queue"])
    bus.delete_rule(Name="commands", EventBusName="fleet")
    bus.delete_event_bus(Name="fleet")


@pytest.mark.usefixtures("sink")
def test_a_rule_of_eventbridge_gets_the_events(conn: Connection, received: Any) -> None:
    """Signed, over a socket, as a rule's pattern wants them."""
    published = publish(conn, EventBridge.from_environment(), deadline=plenty)

    events = received()
    assert published == Published(events_published=9)
    assert [event["detail-type"] for event in events] == ["command.accepted"] * 3 + ["command.cancelled"] * 3
    assert {event["source"] for event in events} == {"agent-command-dispatcher"}
    known = feed.read(conn, after=feed.oldest(conn), limit=99).events
    assert [event["detail"] for event in events] == [
        feed.as_json(event) for kind in ("accepted", "cancelled") for event in known if event.type == f"command.{kind}"
    ]


@pytest.mark.usefixtures("sink")
def test_a_bus_that_does_not_exist_is_an_error_and_not_a_loss(
    conn: Connection, eventbridge: str, received: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also an address at which nobody answers."""
    monkeypatch.setattr(publisher, "PAUSES", ())
    nobody = EventBridge("fleet", "http://127.0.0.1:9")
    assert publish(conn, nobody, deadline=plenty).events_published == 0
    assert conn.execute("select error from sinks").fetchone() == ("ConnectionRefusedError",)

    assert publish(conn, EventBridge("fleet", eventbridge), deadline=plenty).events_published == 9
    assert len(received()) == 6


WORKER = """
import os, signal, sys
from dispatcher.events import publisher
from dispatcher.events.sinks import Sink
from dispatcher.platform.database import open_connection
from dispatcher.platform.event_bus import EventBridge

step, count = sys.argv[1], int(sys.argv[2])
publisher.PAGE = 2
put, advance = EventBridge.put, Sink.advance

def killed(work, before):
    def do(*given):
        global count
        count -= 1
        if count == 0 and before:
            os.kill(os.getpid(), signal.SIGKILL)
        done = work(*given)
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    return do

if step.startswith("put"):
    EventBridge.put = killed(put, step == "put?")
else:
    Sink.advance = killed(advance, step == "advance?")
with open_connection(os.environ["DATABASE_URL"]) as conn:
    publisher.publish(conn, EventBridge.from_environment(), deadline=lambda: 60.0)
"""


@pytest.mark.usefixtures("sink")
@pytest.mark.parametrize("killed_at", ["put? 2", "put 1", "put 3", "advance? 1", "advance 1"])
def test_a_kill_loses_nothing_and_repeats_one_page_at_most(
    conn: Connection, database_url: str, received: Any, root: Path, killed_at: str
) -> None:
    """Before or after a call of EventBridge, before or after its record; the next run waits for the lease to end."""
    killed = subprocess.run(
        [sys.executable, "-c", WORKER, *killed_at.split()],
        check=False,
        env={**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(root / "layers" / "dispatcher")},
    )
    assert killed.returncode == -signal.SIGKILL

    with open_connection(database_url) as mine:
        bus = EventBridge.from_environment()
        assert publish(mine, bus, deadline=plenty) == Published()
        mine.execute("update sinks set lease_expires_at = now() where lease_token is not null")
        publish(mine, bus, deadline=plenty)

    ids = [event["detail"]["id"] for event in received()]
    known = feed.read(conn, after=feed.oldest(conn), limit=99).events
    assert set(ids) == {event.id for event in known if event.command_id is not None}
    assert len(ids) - len(set(ids)) <= 2
