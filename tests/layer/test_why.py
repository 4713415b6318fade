"""Why is it stuck?  For each situation the one reason, of several that may be true the one that a person has to know."""

from collections.abc import Callable

import pytest

from dispatcher.database import Connection
from dispatcher.delivery import deliver
from dispatcher.errors import UnknownCommand
from dispatcher.model import Dialect
from dispatcher.reports import receive
from dispatcher.store import delivery
from dispatcher.why import explain
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put

Situation = Callable[[Connection], None]


def known(conn: Connection) -> None:
    """An agent that has never connected."""
    provide(conn)
    put(conn, "k1")


def online(conn: Connection) -> None:
    """An agent is connected, and nothing has been looked at yet."""
    known(conn)
    connect(conn)


def unknown(conn: Connection) -> None:
    """Nobody has provided the agent."""
    put(conn, "k1")


def deleted(conn: Connection) -> None:
    """The agent was deleted, and is not approved any more either."""
    known(conn)
    conn.execute("update agents set deleted_at = now(), approval = 'rejected'")


def not_approved(conn: Connection) -> None:
    """The agent waits for an admin."""
    known(conn)
    conn.execute("update agents set approval = 'pending'")


def too_late(conn: Connection) -> None:
    """Its time is over, and no sweep has come yet."""
    online(conn)
    conn.execute("update agent_commands set deliver_by = '2020-01-01'")


def too_early(conn: Connection) -> None:
    """Its time has not come, and its agent is away."""
    known(conn)
    conn.execute("update agent_commands set not_before = '2999-01-01'")


def gone_again(conn: Connection) -> None:
    """The agent was there, and has gone."""
    online(conn)
    conn.execute("update agents set connection_id = null")


def throttled(conn: Connection) -> None:
    """The gateway refused the last post."""
    online(conn)
    conn.execute("update agents set throttled_until = now() + interval '1 minute'")


def in_flight(conn: Connection) -> None:
    """Another one is with the agent, and waits for its ack."""
    online(conn)
    put(conn, "k0", priority=9)
    deliver(conn, FakeGateway(), "a1", plenty)


def outranked(conn: Connection) -> None:
    """Another one goes before it."""
    online(conn)
    put(conn, "k0", priority=9)


def leased(conn: Connection) -> None:
    """Somebody is posting to the agent."""
    online(conn)
    conn.execute("update agents set lease_token = gen_random_uuid(), lease_expires_at = now() + interval '30 seconds'")


def sent(conn: Connection) -> None:
    """It is with its agent."""
    online(conn)
    delivery.claim(conn, "a1")


def executing(conn: Connection) -> None:
    """Its agent has acknowledged it."""
    sent(conn)
    receive(conn, "a1", "c1", '{"type": "ack", "payload": {"commandId": "k1"}}')


def failed(conn: Connection) -> None:
    """Its agent could not do it."""
    sent(conn)
    receive(conn, "a1", "c1", '{"type": "failed", "payload": {"commandId": "k1", "error": "no image"}}')


@pytest.mark.parametrize(
    ("situation", "reason", "says"),
    [
        (unknown, "agent-unknown", "has never been provided"),
        (deleted, "agent-deleted", "was deleted 20"),
        (not_approved, "agent-not-approved", "is pending; an admin has to approve it"),
        (too_late, "expired", "the next sweep ends it"),
        (too_early, "not-before", "before 2999-01-01 00:00:00 UTC"),
        (known, "agent-away", "has never connected"),
        (gone_again, "agent-away", "has been away since 20"),
        (throttled, "throttled", "the next try is 20"),
        (in_flight, "behind", "Command k0 is with the agent"),
        (outranked, "behind", "1 commands for the same agent go before it"),
        (leased, "being-delivered", "right now"),
        (online, "due", "the next delivery or sweep takes it"),
        (sent, "waiting-for-ack", "Attempt 1 of 10 was sent 20"),
        (executing, "executing", "has been executing it since 20"),
        (failed, "ended", "no image"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_each_situation_has_its_reason_in_a_sentence(
    conn: Connection, situation: Situation, reason: str, says: str
) -> None:
    """Computed from the rows as they are."""
    situation(conn)

    why = explain(conn, "k1")

    assert (why.reason, says in why.sentence) == (reason, True), why.sentence


def test_a_docker_agents_command_is_behind_its_own_session_only(conn: Connection) -> None:
    """What another session waits for is no reason."""
    provide(conn)
    connect(conn, dialect=Dialect.SILENT)
    put(conn, "k-other", session_id="s2", status="sent", attempt=1)
    put(conn, "k1", session_id="s1")

    assert explain(conn, "k1").reason == "due"


def test_a_command_that_there_is_not_has_no_reason(conn: Connection) -> None:
    """It is unknown, and said to be."""
    with pytest.raises(UnknownCommand):
        explain(conn, "k1")
