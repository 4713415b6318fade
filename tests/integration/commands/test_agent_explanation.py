"""The explanation of an agent: the one reason why nothing is delivered to it, and what would unblock it."""

import re

import pytest

from dispatcher.access.roles import Operator, Role
from dispatcher.commands import agent_explanation, cancellation
from dispatcher.commands.delivery import deliver
from dispatcher.commands.explanation import explain
from dispatcher.errors import UnknownAgent
from dispatcher.platform.database import Connection
from tests.fakes import FakeGateway, plenty
from tests.rows import FUTURE, connect, connect_new_agent, create_agent, put, say, statuses

ANN = Operator(username="ann", role=Role.SENDER)
LATER = "now() + interval '1 hour'"


@pytest.mark.parametrize(
    ("then", "reason", "unblock"),
    [
        (
            "update agents set approval = 'pending'",
            "agent-not-approved",
            r"An admin calls POST /api/v1/agents/a1/approve\.",
        ),
        ("update agents set connection_id = null", "agent-away", "Start the agent or repair its connection; .*"),
        ("update agents set spoke = false, mute_connections = 2", "agent-mute", r"Restart the agent's process\."),
        (
            f"update agents set refusals = 3, throttled_until = {LATER}",
            "refused",
            "The service tries again by itself; .*",
        ),
        (f"update agents set throttled_until = {LATER}", "throttled", None),
    ],
)
@pytest.mark.parametrize("waiting", [True, False])
def test_what_stops_every_delivery_is_named(
    conn: Connection, *, then: str, reason: str, unblock: str | None, waiting: bool
) -> None:
    """With commands that wait and without; the reason of a command that waits is the same."""
    connect_new_agent(conn)
    if waiting:
        put(conn, "k1")
    conn.execute(then.encode())

    why = agent_explanation.explain(conn, "a1", None)

    assert why.reason == reason
    assert why.unblock is None if unblock is None else re.fullmatch(unblock, why.unblock or "")
    if waiting:
        of_command = explain(conn, "k1", None)
        assert (of_command.reason, of_command.unblock) == (why.reason, why.unblock)


def test_an_agent_for_which_nothing_waits(conn: Connection) -> None:
    """It is ready."""
    connect_new_agent(conn)

    assert agent_explanation.explain(conn, "a1", None).reason == "nothing-pending"


def test_the_next_command_is_the_one_that_is_due(conn: Connection) -> None:
    """A command of higher priority that must wait does not stand for the others."""
    connect_new_agent(conn)
    put(conn, "later", priority=5, not_before=FUTURE)
    only_later = agent_explanation.explain(conn, "a1", None)
    put(conn, "k1")

    assert only_later.reason == "not-before"
    assert only_later.sentence.startswith("Command later is next. It will not be delivered before 2999")
    assert agent_explanation.explain(conn, "a1", None).sentence.startswith("Command k1 is next. It is due;")


def test_the_command_that_the_agent_has_not_answered_is_named(conn: Connection) -> None:
    """Doing what it says lets the next command move."""
    connect_new_agent(conn)
    put(conn, "k1")
    put(conn, "k2")
    deliver(conn, FakeGateway(), "a1", plenty)

    why = agent_explanation.explain(conn, "a1", None)
    say(conn, "ack", commandId="k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    assert (why.reason, why.unblock) == (
        "behind",
        "The agent must acknowledge or end command k1; its deadline ends the wait.",
    )
    assert statuses(conn)["k2"] == "sent"


def test_the_agent_that_is_away_gets_its_command_when_it_connects(conn: Connection) -> None:
    """So the advice is right; and a command that was cancelled can be redriven."""
    create_agent(conn)
    put(conn, "k1")
    assert explain(conn, "k1", None).unblock is not None
    connect(conn)
    deliver(conn, FakeGateway(), "a1", plenty)
    put(conn, "k2")
    cancellation.request_cancel(conn, "k2", ANN)

    assert statuses(conn)["k1"] == "sent"
    assert explain(conn, "k1", None).unblock is None
    assert explain(conn, "k2", None).unblock == "A redrive submits the command again."


def test_an_agent_outside_the_label_limit_is_unknown(conn: Connection) -> None:
    """As everywhere."""
    create_agent(conn)

    with pytest.raises(UnknownAgent):
        agent_explanation.explain(conn, "a1", {"region": "eu"})
