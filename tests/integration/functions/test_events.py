"""GET /api/v1/events: pages, filters, cursors, and requests that wait."""

import threading
import time
from typing import Any

import pytest

from dispatcher.access.roles import Role
from dispatcher.platform.database import Connection
from tests.integration.functions.events import Run, ask, request
from tests.rows import create_agent, put

EVENTS = "/api/v1/events"


def events(run: Run, query: str = "after=start", **options: Any) -> tuple[list[dict[str, Any]], str]:
    """Read a page; return its events and its cursor."""
    status, body = ask(run, "events", "GET", f"{EVENTS}?{query}", role=Role.READER, **options)
    assert status == 200, body
    assert set(body) == {"events", "after"}
    return body["events"], body["after"]


def test_a_reader_follows_the_feed_from_now_on(run: Run, conn: Connection) -> None:
    """Each page gives the cursor of the next one, also an empty page."""
    create_agent(conn)
    put(conn, "k0")
    nothing, after = events(run, "")
    put(conn, "k1")
    some, after = events(run, f"after={after}")
    nothing_more, _ = events(run, f"after={after}")

    assert nothing == nothing_more == []
    assert [{**event, "id": "", "at": ""} for event in some] == [
        {
            "id": "",
            "type": "command.accepted",
            "at": "",
            "agentId": "a1",
            "commandId": "k1",
            "action": "noop",
            "status": "pending",
            "attempt": 0,
            "cause": "accepted",
        }
    ]


def test_filters_and_label_limits(run: Run, conn: Connection) -> None:
    """They hold together."""
    for agent, zone in (("a1", "eu"), ("a2", "us"), ("a3", "eu")):
        create_agent(conn, agent)
        conn.execute(
            "update agents set labels = jsonb_build_object('zone', %s::text) where agent_id = %s", (zone, agent)
        )
        put(conn, f"k-{agent}", agent)

    def agents(query: str, **options: Any) -> list[str]:
        return [event["agentId"] for event in events(run, f"after=start&{query}", **options)[0]]

    assert agents("types=command.accepted") == ["a1", "a2", "a3"]
    assert agents("types=command.accepted,agent.created&agentId=a2") == ["a2", "a2"]
    assert agents("types=command.accepted&types=command.sent&selector=zone%3Deu") == ["a1", "a3"]
    assert agents("types=command.accepted", labels={"zone": "us"}) == ["a2"]
    assert agents("types=command.accepted&selector=zone%3Deu", labels={"zone": "us"}) == []
    assert agents("limit=1") == ["a1"]


def test_the_latest_events_and_from_there_on(run: Run, conn: Connection) -> None:
    """Whoever begins sees what happened last, and misses nothing after it; filters and label limits hold."""
    for agent, zone in (("a1", "eu"), ("a2", "us")):
        create_agent(conn, agent)
        conn.execute(
            "update agents set labels = jsonb_build_object('zone', %s::text) where agent_id = %s", (zone, agent)
        )
    put(conn, "k1")
    put(conn, "k2", "a2")

    two, after = events(run, "latest=2")
    put(conn, "new")
    new, _ = events(run, f"after={after}")

    assert [event["commandId"] for event in two] == ["k1", "k2"]
    assert [event["commandId"] for event in new] == ["new"]
    assert [event["agentId"] for event in events(run, "latest=1&types=agent.created")[0]] == ["a2"]
    assert [event["type"] for event in events(run, "latest=9&agentId=a2")[0]] == ["agent.created", "command.accepted"]
    assert {event["agentId"] for event in events(run, "latest=99", labels={"zone": "us"})[0]} == {"a2"}
    assert len(events(run, "latest=99&selector=zone%3Deu", labels={"zone": "us"})[0]) == 0


@pytest.mark.parametrize(
    ("query", "status", "problem"),
    [
        ("types=command.vanished", 422, "unprocessable"),
        ("wait=21", 422, "unprocessable"),
        ("limit=201", 422, "unprocessable"),
        ("selector=%3D", 422, "unprocessable"),
        ("since=2020", 422, "unprocessable"),
        ("latest=0", 422, "unprocessable"),
        ("latest=5&after=start", 422, "unprocessable"),
        ("after=nonsense", 400, "invalid-request"),
        ("after=MDEyMy4xLjE", 400, "unknown-feed-cursor"),
    ],
)
def test_what_is_no_question_is_refused(run: Run, query: str, status: int, problem: str) -> None:
    """With what to do next."""
    answered, body = ask(run, "events", "GET", f"{EVENTS}?{query}")

    assert (answered, body["type"].rpartition(":")[2]) == (status, problem)


def test_a_cursor_older_than_what_is_kept_is_gone(run: Run, conn: Connection) -> None:
    """The answer names the way on."""
    create_agent(conn)
    _, after = events(run, "")
    put(conn, "k1")
    conn.execute("delete from command_history")

    status, body = ask(run, "events", "GET", f"{EVENTS}?after={after}")

    assert (status, body["type"].rpartition(":")[2]) == (410, "events-gone")
    assert events(run) == ([], events(run)[1])


def test_a_request_waits_for_the_next_event_that_it_wants(run: Run, conn: Connection) -> None:
    """Others do not end the wait."""
    create_agent(conn)
    _, after = events(run, "")

    def happen() -> None:
        while conn.execute("select from feed_waiters").rowcount == 0:
            time.sleep(0.01)
        put(conn, "other", "a2")
        put(conn, "k1")

    thread = threading.Thread(target=happen)
    thread.start()
    seen, _ = events(run, f"after={after}&agentId=a1&wait=20")
    thread.join()

    assert [event["commandId"] for event in seen] == ["k1"]
    assert conn.execute("select from feed_waiters").rowcount == 0


def test_only_a_few_requests_wait_at_a_time(run: Run, conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are answered at once, and told to come back; a place that was left behind is free after its time."""
    monkeypatch.setenv("EVENT_WAITERS", "2")
    conn.execute("insert into feed_waiters select n, now() + interval '1 hour' from generate_series(1, 2) as n")
    began = time.monotonic()
    crowded = run("events", request("GET", f"{EVENTS}?wait=20"))
    took = time.monotonic() - began
    conn.execute("update feed_waiters set waits_until = now() where slot = 2")
    alone = run("events", request("GET", f"{EVENTS}?wait=1"))

    assert crowded["headers"]["Retry-After"] == "2"
    assert took < 10
    assert "Retry-After" not in alone["headers"]
    assert conn.execute("select slot from feed_waiters").fetchall() == [(1,)]
