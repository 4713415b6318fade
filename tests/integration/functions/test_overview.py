"""The overview: figures of what an operator may see."""

from typing import Any

import pytest

from dispatcher.platform.database import Connection
from tests.integration.functions.events import Run, ask
from tests.rows import put

OVERVIEW = "/api/v1/overview"


@pytest.fixture
def fleet(conn: Connection) -> Connection:
    """Four agents in two regions, and commands of each."""
    conn.execute(
        """
        insert into agents (agent_id, platform, labels, connection_id, last_seen_at)
        values
            ('eu-1', 'linux', '{"region": "eu"}', 'c1', now()),
            ('eu-2', 'linux', '{"region": "eu"}', 'c2', now() - interval '100 s'),
            ('us-1', 'linux', '{"region": "us"}', null, now()),
            ('us-2', 'linux', '{"region": "us"}', 'c3', now())
        """
    )
    put(conn, "k1", "eu-1")
    put(conn, "k2", "eu-1", status="dead")
    put(conn, "k3", "us-1")
    conn.execute(
        """
        insert into agent_commands (command_id, agent_id, action, status, created_at, sent_at, acknowledged_at, completed_at)
        select 'c' || n, 'eu-1', 'noop', 'completed', now() - interval '60 s', now() - interval '60 s' + n * interval '0.1 s',
            now() - interval '40 s', now() - interval '30 s'
        from generate_series(0, 100) n
        """
    )
    conn.execute(
        "update agent_commands set status = 'failed', moves = moves + 1, completed_at = now() where command_id = 'k3'"
    )
    return conn


def overview(run: Run, **options: Any) -> Any:
    """Read the overview."""
    status, body = ask(run, "commands", "GET", OVERVIEW, **options)
    assert status == 200, body
    return body


@pytest.mark.usefixtures("fleet")
def test_the_overview_counts_what_there_is(run: Run) -> None:
    """Presence, statuses, minutes and percentiles."""
    seen = overview(run)

    assert seen["agents"] == {"online": 2, "degraded": 1, "offline": 1}
    assert {status: n for status, n in seen["commands"].items() if n} == {
        "pending": 1,
        "dead": 1,
        "failed": 1,
        "completed": 101,
    }
    assert seen["deadLast24h"] == 1
    assert len(seen["series"]) == 60
    sums = {
        name: sum(minute[name] for minute in seen["series"]) for name in ("accepted", "sent", "completed", "failed")
    }
    assert sums == {"accepted": 104, "sent": 0, "completed": 101, "failed": 1}
    assert seen["latency"]["acceptedToSent"] == pytest.approx({"p50": 5, "p95": 9.5, "p99": 9.9})
    assert seen["latency"]["acknowledgedToEnded"] == pytest.approx({"p50": 10, "p95": 10, "p99": 10})


@pytest.mark.usefixtures("fleet")
def test_an_operator_of_one_region_sees_its_figures(run: Run) -> None:
    """Each label limit has its own figures."""
    us, eu = (overview(run, labels={"region": region}) for region in ("us", "eu"))

    assert us["agents"] == {"online": 1, "degraded": 0, "offline": 1}
    assert {status: n for status, n in us["commands"].items() if n} == {"failed": 1}
    assert sum(minute["failed"] for minute in us["series"]) == 1
    assert (us["deadLast24h"], eu["deadLast24h"]) == (0, 1)
    assert us["latency"]["acceptedToSent"] == {"p50": None, "p95": None, "p99": None}
    assert eu["commands"]["completed"] == 101


def test_figures_are_kept_while_they_are_fresh(run: Run, fleet: Connection) -> None:
    """They are computed again after a pause that depends on how long they took."""
    overview(run)
    put(fleet, "k9")
    fleet.execute("update overviews set took = 1000")
    kept = overview(run)
    fleet.execute("update overviews set took = 0, refreshed_at = refreshed_at - interval '2 s'")

    assert kept["commands"]["pending"] == 1
    assert overview(run)["commands"]["pending"] == 2


def test_a_minute_is_counted_once_however_often_the_sweep_runs(run: Run, fleet: Connection) -> None:
    """A minute that is not over is counted anew each time; one that is final is left alone."""
    for _ in range(3):
        run("sweeper")
        fleet.execute("update overviews set refreshed_at = refreshed_at - interval '1 h'")

    assert sum(minute["accepted"] for minute in overview(run)["series"]) == 104


@pytest.mark.parametrize("labels", [None, {"region": "eu"}], ids=["all", "eu"])
def test_the_statuses_are_those_of_the_table_whatever_happens(run: Run, fleet: Connection, labels: Any) -> None:
    """Commands are counted once; then moves, new and deleted commands and other labels change the figures."""
    visible = "" if labels is None else 'join agents a on a.agent_id = c.agent_id and a.labels @> \'{"region": "eu"}\''
    steps = [
        "update agent_commands set status = 'completed', moves = moves + 1, completed_at = now() where command_id = 'k1'",
        "insert into agent_commands (agent_id, action) select 'eu-' || 1 + n % 2, 'noop' from generate_series(1, 9) n",
        "delete from agent_commands where command_id in ('c1', 'c2')",
        "update agents set labels = '{\"region\": \"eu\"}' where agent_id = 'us-1'",
        "update agents set labels = '{}' where agent_id = 'eu-1'",
        # Time passes: what happened becomes final.
        """update command_history set at = at - interval '3 minutes';
           update command_deletions set at = at - interval '3 minutes';
           update overviews set rolled_until = rolled_until - interval '3 minutes'""",
        "update overviews set asked_at = now()",
        "update agent_commands set status = 'cancelled', moves = moves + 1, completed_at = now() where status = 'pending'",
    ]

    for step in steps:
        overview(run, labels=labels)
        fleet.execute(step.encode())
        fleet.execute("update overviews set refreshed_at = refreshed_at - interval '1 h', took = 0")
        expected = fleet.execute(
            f"select c.status, count(*) from agent_commands c {visible} group by c.status".encode()
        ).fetchall()

        shown = overview(run, labels=labels)["commands"]
        assert {status: n for status, n in shown.items() if n} == dict(expected), step
