"""The change feed: each event once, in order, whoever commits in parallel."""

import base64
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from dispatcher.agents import registry
from dispatcher.agents.selectors import parse
from dispatcher.commands import deadlines
from dispatcher.commands.delivery import deliver
from dispatcher.errors import EventsGone, InvalidRequest, UnknownFeedCursor
from dispatcher.events import feed
from dispatcher.events.feed import Cursor, Event, EventFilter
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.migrations import migrate
from tests.e2e.dispatcher_process import until
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, connect_new_agent, create_agent, put, report, report_of, say, waits_for_lock


@pytest.fixture
def other(database_url: str) -> Iterator[Connection]:
    """A second connection to the database of this test."""
    with open_connection(database_url) as connection:
        yield connection


def read_all(conn: Connection, after: Cursor | None = None, limit: int = 100) -> list[Event]:
    """Read page after page until nothing is left."""
    after = after or feed.oldest(conn)
    events: list[Event] = []
    while True:
        page = feed.read(conn, after=after, limit=limit)
        events += page.events
        after = page.after
        if not page.more:
            return events


def types(events: list[Event]) -> list[str]:
    """Return the types of events."""
    return [event.type for event in events]


def test_the_life_of_a_command_and_of_its_agent(conn: Connection) -> None:
    """Each transition is an event, also two of one update."""
    connect_new_agent(conn, window=2)
    put(conn, "k1", cause="accepted")
    deliver(conn, FakeGateway(), "a1", plenty)
    report(conn, report_of("ack", "k1"), report_of("complete", "k1"))

    events = read_all(conn)

    assert types(events) == [
        "agent.created",
        "agent.connected",
        "command.accepted",
        "command.sent",
        "command.acknowledged",
        "command.completed",
    ]
    assert {event.agent_id for event in events} == {"a1"}
    assert len({event.id for event in events}) == 6
    last = feed.as_json(events[-1])
    assert last == {
        "id": events[-1].id,
        "type": "command.completed",
        "at": last["at"],
        "agentId": "a1",
        "commandId": "k1",
        "action": "noop",
        "status": "completed",
        "attempt": 1,
        "cause": "completed by its agent",
    }


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pages_of_any_size_hold_the_same_events(conn: Connection, limit: int) -> None:
    """None is left out between two pages, none comes twice."""
    connect_new_agent(conn)
    for number in range(4):
        put(conn, f"k{number}")

    assert read_all(conn, limit=limit) == read_all(conn)
    assert len(read_all(conn)) == 6


@pytest.mark.parametrize("scanned", [3, 4, 50])
@pytest.mark.parametrize("limit", [1, 4, 99])
def test_the_latest_events_are_the_last_ones_of_the_feed(
    conn: Connection, monkeypatch: pytest.MonkeyPatch, limit: int, scanned: int
) -> None:
    """However many are looked at in one page: those that a label limit shows, in their order."""
    monkeypatch.setattr(feed, "SCANNED", scanned)
    for agent_id, zone in (("a1", "eu"), ("a2", "us")):
        create_agent(conn, agent_id)
        conn.execute(
            "update agents set labels = jsonb_build_object('zone', %s::text) where agent_id = %s", (zone, agent_id)
        )
    for number in range(9):
        put(conn, f"k{number}", "a1" if number % 3 else "a2")
    visible = [event for event in read_all(conn) if event.agent_id == "a2"]
    reach = [event for event in read_all(conn)[-feed.LATEST_SCANS * scanned :] if event.agent_id == "a2"]

    page = feed.latest(conn, limit=limit, scope={"zone": "us"})

    assert page.events == reach[-limit:]
    assert page.after == feed.newest(conn)
    assert feed.latest(conn, limit=limit).events == read_all(conn)[-limit:]
    assert len(visible) == 4


def test_the_latest_events_cost_no_more_after_a_long_history(conn: Connection) -> None:
    """An index is read backwards, for a bounded number of events; those of agents alone are found behind all transitions."""
    create_agent(conn)
    conn.execute("insert into agent_commands (agent_id, action) select 'a1', 'noop' from generate_series(1, 12000)")
    conn.execute("analyze command_history, agent_events")
    seen: list[tuple[list[Event], int]] = []

    for wanted in ("agent.created", "command.dead"):
        with conn.transaction():
            before = rows_read(conn)
            page = feed.latest(conn, limit=5, wanted=EventFilter(types=frozenset({wanted})))
            seen.append((page.events, rows_read(conn) - before))

    (created, of_agents), (dead, of_commands) = seen
    assert types(created) == ["agent.created"]
    assert dead == []
    assert of_agents < 20
    assert of_commands < 2 * feed.LATEST_SCANS * feed.SCANNED + 100


def rows_read(conn: Connection) -> int:
    """Return how many rows of commands and events this transaction has read."""
    row = conn.execute(
        """
        select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint
        from pg_stat_xact_user_tables
        where relname in ('agent_events', 'command_history', 'agent_commands')
        """
    ).fetchone()
    assert row is not None
    total: int = row[0]
    return total


def test_an_event_waits_for_the_transactions_that_began_before_it(conn: Connection, other: Connection) -> None:
    """Otherwise a reader would go past what they have not committed yet."""
    create_agent(conn)
    began = feed.newest(conn)
    with other.transaction():
        put(other, "first")
        put(conn, "second")
        assert feed.read(conn, after=began, limit=9).events == []
        assert feed.newest(conn) == began

    assert [event.command_id for event in read_all(conn, began)] == ["first", "second"]


def test_a_transaction_that_waited_for_a_later_one_comes_after_it(conn: Connection, other: Connection) -> None:
    """Its id is lower, its event is later: a command never goes back in the feed."""
    connect_new_agent(conn)
    put(conn, "k1", status="sent", attempt=1, epoch=1)
    began = feed.newest(conn)
    with other.transaction():
        other.execute("update agents set region = 'r' where agent_id = 'a1'")  # it has its id now
        conn.execute("update agent_commands set status = 'acknowledged', moves = moves + 1, execution_deadline = now()")
        other.execute("update agent_commands set status = 'completed', moves = moves + 1, completed_at = now()")
        other.execute("update agent_commands set status = 'failed', moves = moves + 1")

    assert types(read_all(conn, began)) == ["command.acknowledged", "command.completed", "command.failed"]


@pytest.mark.parametrize("kind", ["ack", "complete"])
def test_a_report_that_waited_for_a_later_transaction_comes_after_it(
    conn: Connection, other: Connection, database_url: str, kind: str
) -> None:
    """Likewise for a statement that writes its own history: it began before the other one ended."""
    connect_new_agent(conn)
    put(conn, "k1", status="sent", attempt=1, epoch=1)
    began = feed.newest(conn)

    def say_late(mine: Connection) -> None:
        with mine.transaction():
            mine.execute("update agents set region = 'r' where agent_id = 'a1'")  # it has its id now
            has_id.set()
            assert is_locked.wait(10)
            assert say(mine, kind, commandId="k1")

    has_id, is_locked = threading.Event(), threading.Event()
    with open_connection(database_url) as mine, ThreadPoolExecutor() as pool:
        late = pool.submit(say_late, mine)
        assert has_id.wait(10)
        with other.transaction():
            other.execute("update agent_commands set status = 'pending', moves = moves + 1, cause = 'given back'")
            is_locked.set()
            until(lambda: late.done() or waits_for_lock(conn, mine))
        late.result()

    said = {"ack": "command.acknowledged", "complete": "command.completed"}[kind]
    assert types(read_all(conn, began)) == ["command.pending", said]


def test_an_agent_never_goes_back_in_the_feed(conn: Connection, other: Connection) -> None:
    """Likewise: who follows the feed knows at its end whether the agent is connected."""
    create_agent(conn)
    began = feed.newest(conn)
    with other.transaction():
        put(other, "k1")  # it has its id now
        connect(conn)
        other.execute("update agents set connection_id = null")

    assert types(read_all(conn, began)) == ["command.accepted", "agent.connected", "agent.disconnected"]


def test_a_reader_sees_each_event_of_parallel_writers_once_and_in_order(conn: Connection, database_url: str) -> None:
    """I20: writers that commit after random delays, some of them late; the reader goes on wherever it has come to."""
    writers, rounds, commands = 6, 25, 5
    create_agent(conn)
    for number in range(commands):
        put(conn, f"k{number}")
    started = after = feed.newest(conn)
    failed: list[Exception] = []

    def write(seed: int) -> None:
        choose = random.Random(seed)  # noqa: S311 - decides nothing but delays
        try:
            with open_connection(database_url) as mine:
                for turn in range(rounds):
                    with mine.transaction():
                        put(mine, f"k{seed}-{turn}")  # the transaction has its id
                        time.sleep(choose.random() * 0.004)
                        mine.execute(
                            """
                            update agent_commands
                            set moves = moves + 1,
                                cause = 'move ' || moves + 1,
                                status = case status when 'pending' then 'cancelled' else 'pending' end
                            where command_id = %s
                            """,
                            (f"k{choose.randrange(commands)}",),
                        )
                        time.sleep(choose.random() ** 4 * 0.02)
        except psycopg.Error as error:  # pragma: no cover - shown by the assertion
            failed.append(error)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(writers)]
    for thread in threads:
        thread.start()
    seen: list[Event] = []
    while any(thread.is_alive() for thread in threads) or feed.has_more(conn, after):
        page = feed.read(conn, after=after, limit=7)
        seen += page.events
        after = page.after

    assert not failed
    assert len({event.id for event in seen}) == len(seen) == 2 * writers * rounds
    assert read_all(conn, started) == seen
    for number in range(commands):
        moves = [int((event.cause or "").rpartition(" ")[2]) for event in seen if event.command_id == f"k{number}"]
        assert moves == list(range(1, len(moves) + 1))


def test_filters_go_on_past_what_they_do_not_want(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may be empty: it looks at a bounded number of events, and `after` moves on."""
    monkeypatch.setattr(feed, "SCANNED", 3)
    for agent in ("a1", "a2"):
        create_agent(conn, agent)
    conn.execute("""update agents set labels = '{"zone": "eu"}' where agent_id = 'a2'""")
    for number in range(5):
        put(conn, f"k{number}")
    put(conn, "wanted", "a2")
    wanted = {
        "type and agent": (EventFilter(types=frozenset({"command.accepted"}), agent_id="a2"), None),
        "selector": (EventFilter(types=frozenset({"command.accepted"}), selector=parse("zone in (eu, us)")), None),
        "label limit": (EventFilter(types=frozenset({"command.accepted"})), {"zone": "eu"}),
    }

    for name, (wants, labels) in wanted.items():
        after = feed.oldest(conn)
        pages: list[feed.Page] = []
        while not pages or pages[-1].more:
            pages.append(feed.read(conn, after=after, limit=10, wanted=wants, scope=labels))
            after = pages[-1].after
        assert [event.command_id for page in pages for event in page.events] == ["wanted"], name
        assert pages[0].events == [], name


def test_a_label_limit_does_not_show_an_earlier_agent_of_the_same_id(conn: Connection) -> None:
    """As for its commands; without a limit they are shown."""
    create_agent(conn)
    put(conn, "old")
    conn.execute("update agents set deleted_at = now()")
    registry.insert(conn, agent_id="a1", platform="p", region=None, labels={"zone": "eu"}, approval="pending")
    put(conn, "new")
    conn.execute("update agents set approval = 'approved'")
    limited = feed.read(conn, after=feed.oldest(conn), limit=99, scope={"zone": "eu"}).events

    assert types(limited) == ["agent.created", "command.accepted", "agent.approved"]
    assert types(read_all(conn)) == ["agent.created", "command.accepted", "agent.deleted", *types(limited)]


def test_a_cursor_that_is_older_than_what_is_kept_is_refused(conn: Connection) -> None:
    """Also by one event; from the oldest kept on, nothing is missing."""
    create_agent(conn)
    began = feed.newest(conn)
    put(conn, "old", status="completed", completed_at="2020-01-01")
    passed = feed.newest(conn)
    put(conn, "new")
    deadlines.prune(conn, 30, 100)

    with pytest.raises(EventsGone, match="retention"):
        feed.read(conn, after=began, limit=9)

    assert [event.command_id for event in feed.read(conn, after=passed, limit=9).events] == ["new"]
    assert [event.command_id for event in read_all(conn)] == ["new"]


def test_events_of_agents_are_kept_as_long_as_commands(conn: Connection) -> None:
    """A cursor before a deleted one is refused, too."""
    create_agent(conn)
    began = feed.oldest(conn)
    conn.execute("update agent_events set at = now() - interval '31 days'")
    create_agent(conn, "a2")

    assert (feed.prune(conn, 30, 100), feed.prune(conn, 30, 100)) == (1, 0)
    assert [event.agent_id for event in read_all(conn)] == ["a2"]
    with pytest.raises(EventsGone):
        feed.read(conn, after=began, limit=9)


@pytest.mark.parametrize("text", ["x", "", "1.2", "zz.1.2", "é", "1" * 400])
def test_a_text_that_is_no_cursor_is_refused(text: str) -> None:
    """It is the caller's mistake."""
    for given in (text, base64.urlsafe_b64encode(text.encode()).decode()):
        with pytest.raises(InvalidRequest):
            Cursor.parse(given)


def test_a_restore_begins_another_life(conn: Connection) -> None:
    """Cursors to events that the backup has go on; those to events that were lost are refused, and positions grow on."""
    create_agent(conn)
    put(conn, "k1")
    kept = feed.newest(conn)
    put(conn, "k2")
    lost = Cursor(life=kept.life, position=kept.position + 10**9, number=kept.number + 9)
    # What a dump has that comes from a server with many more transactions.
    conn.execute("update command_history set position = position + 1000000 where command_id = 'k2'")
    conn.execute("update feed set origin = 'another server'")

    migrate(conn)
    put(conn, "k3")

    events = feed.read(conn, after=Cursor.parse(str(kept)), limit=9).events
    assert [event.command_id for event in events] == ["k2", "k3"]
    assert feed.newest(conn).life != kept.life
    for cursor in (lost, Cursor(life="0", position=1, number=1)):
        with pytest.raises(UnknownFeedCursor):
            feed.read(conn, after=cursor, limit=9)


def test_a_cursor_from_a_time_that_was_undone_is_refused(conn: Connection) -> None:
    """After a restore to a point in time the server is the same, and its transactions are counted from that point."""
    create_agent(conn)
    ahead = feed.newest(conn)

    with pytest.raises(UnknownFeedCursor):
        feed.read(conn, after=Cursor(life=ahead.life, position=ahead.position + 10**6, number=1), limit=9)
