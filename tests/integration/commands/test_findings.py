"""The alarms of the loss check ring for each new finding, and not only for the first one."""

import pytest

from dispatcher.commands import findings
from dispatcher.commands.delivery import deliver
from dispatcher.commands.loss_check import check_for_loss, figure
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from dispatcher.webhooks import webhook_queue
from tests.fakes import FakeGateway, plenty
from tests.rows import connect_new_agent, put, say


def checked(conn: Connection, metric: str) -> float:
    """Run the scheduled check, and let five minutes pass; return one of its metrics."""
    value = findings.record(conn, check_for_loss(conn))[metric]
    conn.execute(
        "update findings set found_at = found_at - interval '5 minutes', seen_at = seen_at - interval '5 minutes'"
    )
    return value


def lose(conn: Connection, command_id: str) -> None:
    """Lose a command."""
    put(conn, command_id)
    conn.execute("delete from agent_commands where command_id = %s", (command_id,))


def test_each_lost_command_rings_although_the_first_is_still_lost(conn: Connection) -> None:
    """It is a finding for a day."""
    connect_new_agent(conn)
    metric = "newly_lost_commands"
    before = checked(conn, metric)
    lose(conn, "k1")
    first = [checked(conn, metric) for _ in range(4)]
    lose(conn, "k2")
    second = [checked(conn, metric) for _ in range(4)]

    assert check_for_loss(conn).findings[0].offenders == 2
    assert (before, first, second) == (0, [1, 1, 0, 0], [1, 1, 0, 0])


def test_a_command_that_is_stuck_only_once_rings_nothing_and_one_that_stays_does(conn: Connection) -> None:
    """The next sweep may deliver it; the page is for what two checks find."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING)
    put(conn, "k1", created_at="2026-01-01")
    conn.execute("update agents set connected_at = now() - interval '1 hour'")
    conn.execute("update command_history set at = at - interval '1 hour'")
    metric = "newly_stuck_commands"

    assert [checked(conn, metric) for _ in range(5)] == [0, 1, 1, 0, 0]


def test_a_finding_that_comes_back_after_an_hour_rings_again(conn: Connection) -> None:
    """It is another occurrence."""
    connect_new_agent(conn)
    lose(conn, "k1")
    metric = "newly_lost_commands"
    assert [checked(conn, metric) for _ in range(3)] == [1, 1, 0]
    conn.execute("update findings set seen_at = seen_at - interval '2 hours', found_at = found_at - interval '2 hours'")

    assert checked(conn, metric) == 1


@pytest.mark.parametrize(
    "statement", ["status = 'pending', moves = moves + 1", "sent_at = created_at - interval '1 day'"]
)
def test_every_broken_invariant_has_an_alarm(conn: Connection, statement: str) -> None:
    """Also those that are no loss."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    say(conn, "complete", commandId="k1")
    conn.execute(f"update agent_commands set {statement} where command_id = 'k1'".encode())

    assert checked(conn, "newly_broken_invariants") == 1


@pytest.mark.parametrize(("minutes", "new"), [(4, 0), (6, 1), (10, 1), (12, 0)])
def test_an_agent_that_stays_late_or_refused_does_not_hide_the_next_one(
    conn: Connection, minutes: int, new: int
) -> None:
    """Each counts at two checks at most, five minutes after it began."""
    connect_new_agent(conn)
    put(conn, "k1")
    conn.execute("update agent_commands set created_at = now() - %s * interval '1 minute'", (minutes,))
    conn.execute("update agents set refusals = 3, refused_since = now() - %s * interval '1 minute'", (minutes,))

    assert (figure(conn, "newly_late_agents"), figure(conn, "newly_refused_agents")) == (new, new)


@pytest.mark.parametrize(("minutes", "new"), [(14, 0), (16, 1), (19, 0)])
def test_a_webhook_that_stays_late_does_not_hide_the_next_one(conn: Connection, minutes: int, new: int) -> None:
    """It counts for three minutes."""
    conn.execute("insert into operators (username, password_hash, role) values ('ada', 'h', 'admin')")
    conn.execute(
        "insert into webhooks (url, username, made_with, cursor, waiting_since)"
        " values ('https://example.com', 'ada', '{}', 'c', now() - %s * interval '1 minute')",
        (minutes,),
    )

    assert webhook_queue.figures(conn).newly_late_webhooks == new
