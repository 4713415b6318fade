"""Lists of commands with filters: right at any size, and bounded."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatcher.agents.selectors import parse
from dispatcher.commands import command_lists
from dispatcher.commands.command_lists import Filter, Position
from dispatcher.commands.lifecycle import Status
from dispatcher.platform.database import Connection
from tests.rows import create_agent, put

START = datetime(2026, 1, 1, tzinfo=UTC)
PENDING, SENT, DEAD, COMPLETED = Status.PENDING, Status.SENT, Status.DEAD, Status.COMPLETED


@pytest.fixture
def fleet(conn: Connection) -> Connection:
    """Ten agents and 600 commands, whose times of acceptance are not in the order of their numbers."""
    conn.execute(
        """
        insert into agents (agent_id, platform, labels)
        select 'a' || n, 'linux', jsonb_build_object('half', case when n < 5 then 'low' else 'high' end, 'n', n::text)
        from generate_series(0, 9) n
        """
    )
    chosen = random.Random(1)  # noqa: S311 - the same each time
    with conn.cursor() as cursor:
        cursor.executemany(
            """
            insert into agent_commands (command_id, agent_id, session_id, action, status, submitted_by, created_at)
            values (%s, %s, %s, %s, %s, %s, %s)
            """,
            [
                (
                    f"k{number}",
                    f"a{chosen.randrange(11)}",
                    chosen.choice([None, "s1", "s2"]),
                    chosen.choice(["deploy", "restart"]),
                    chosen.choice([PENDING, SENT, DEAD, COMPLETED]),
                    chosen.choice([None, "ann", "bob"]),
                    START + timedelta(minutes=chosen.randrange(300)),
                )
                for number in range(600)
            ],
        )
    return conn


FILTERS: list[tuple[Filter, str]] = [
    (Filter(), "true"),
    (Filter(agent_id="a1"), "agent_id = 'a1'"),
    (Filter(agent_id="a1", statuses=frozenset({PENDING, SENT})), "agent_id = 'a1' and status in ('pending', 'sent')"),
    (Filter(agent_id="a1", statuses=frozenset({SENT, DEAD})), "agent_id = 'a1' and status in ('sent', 'dead')"),
    (Filter(session_id="s1", action="deploy"), "session_id = 's1' and action = 'deploy'"),
    (Filter(statuses=frozenset({DEAD, COMPLETED})), "status in ('dead', 'completed')"),
    (Filter(action="restart", submitted_by="ann"), "action = 'restart' and submitted_by = 'ann'"),
    (Filter(submitted_by="bob", statuses=frozenset({DEAD})), "submitted_by = 'bob' and status = 'dead'"),
    (
        Filter(since=START + timedelta(minutes=60), until=START + timedelta(minutes=120)),
        "created_at >= '2026-01-01 01:00Z' and created_at < '2026-01-01 02:00Z'",
    ),
    (Filter(selector=parse("half=low,n notin (3)")), "agent_id in ('a0', 'a1', 'a2', 'a4')"),
    (
        Filter(selector=parse("half=low"), statuses=frozenset({PENDING, SENT})),
        "agent_id ~ '^a[0-4]$' and status in ('pending', 'sent')",
    ),
    (Filter(selector=parse("!half")), "false"),
    (Filter(selector=parse("half!=low"), action="deploy"), "agent_id ~ '^a[5-9]$' and action = 'deploy'"),
]


@pytest.mark.parametrize(("wanted", "condition"), FILTERS)
@pytest.mark.parametrize(("limit", "rows"), [(7, 5000), (50, 30), (3, 10)])
@pytest.mark.parametrize("scope", [None, {"half": "high"}], ids=["all", "high"])
def test_the_pages_of_a_list_of_commands_are_what_its_filter_means(
    fleet: Connection, *, wanted: Filter, condition: str, limit: int, rows: int, scope: dict[str, str] | None
) -> None:
    """However few entries of an index a page may read; each command comes once, newest first."""
    visible = "true" if scope is None else "agent_id in ('a5', 'a6', 'a7', 'a8', 'a9')"
    expected = fleet.execute(
        f"select command_id from agent_commands where {condition} and {visible} order by created_at desc, seq desc".encode()
    ).fetchall()

    ids = _all_pages(fleet, wanted=wanted, scope=scope, limit=limit, rows=rows)

    assert ids == [command_id for (command_id,) in expected]


def test_few_agents_are_read_one_by_one(fleet: Connection) -> None:
    """So a selector of few agents fills its page, however many commands the others have."""
    with_row_limit = command_lists.find(fleet, scope=None, wanted=Filter(selector=parse("n=1")), limit=5, rows=100)

    assert len(with_row_limit.ids) == 5


def test_what_no_index_finds_ends_early_and_goes_on(fleet: Connection) -> None:
    """A page reads a bounded number of entries, and says where the next one begins."""
    wanted = replace(Filter(action="deploy"), submitted_by="nobody", since=START)
    busy = Filter(action="deploy", statuses=frozenset({Status.EXPIRED, COMPLETED}), selector=parse("!half"))

    assert command_lists.find(fleet, scope=None, wanted=wanted, limit=5, rows=20) == command_lists.Found(
        ids=[], next=None
    )
    found = command_lists.find(fleet, scope=None, wanted=busy, limit=5, rows=20)
    assert found.ids == []
    assert found.next is not None


def _all_pages(conn: Connection, **options: Any) -> list[str]:
    ids: list[str] = []
    before: Position | None = None
    for _ in range(1000):
        found = command_lists.find(conn, before=before, **options)
        assert len(found.ids) <= options["limit"]
        ids += found.ids
        before = found.next
        if before is None:
            return ids
    raise AssertionError("the pages do not end")


def test_an_empty_limit_shows_no_command_of_an_agent_that_does_not_exist(conn: Connection) -> None:
    """An empty limit is a limit."""
    create_agent(conn)
    put(conn, "k1")
    put(conn, "k2", "nobody")

    assert command_lists.find(conn, scope={}, wanted=Filter(), before=None, limit=9).ids == ["k1"]
