"""The explanation: the one reason for a command's present state."""

import re
from typing import Any

import pytest

from dispatcher.commands.delivery import deliver
from dispatcher.commands.explanation import explain
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import FUTURE, PAST, connect_new_agent, put

LATER = "now() + interval '1 hour'"
MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
SITUATIONS: list[tuple[str, dict[str, Any], str, str, str]] = [
    (
        "pending",
        {},
        "delete from agent_connections; delete from agents",
        "agent-unknown",
        "Agent 'a1' does not exist.",
    ),
    ("pending", {}, "update agents set deleted_at = now()", "agent-deleted", f"Agent 'a1' was deleted {MOMENT}."),
    (
        "pending",
        {},
        "update agents set approval = 'rejected'",
        "agent-not-approved",
        "Agent 'a1' is rejected; an admin must approve it.",
    ),
    (
        "pending",
        {"deliver_by": PAST},
        "",
        "expired",
        "It was not delivered in time; the next sweep expires it.",
    ),
    (
        "pending",
        {"not_before": FUTURE},
        "",
        "not-before",
        "It will not be delivered before 2999-01-01 00:00:00 UTC.",
    ),
    (
        "pending",
        {},
        "update agents set connection_id = null",
        "agent-away",
        f"Agent 'a1' has been offline since {MOMENT}; the command is delivered when it reconnects.",
    ),
    (
        "pending",
        {},
        "update agents set connection_id = null, last_seen_at = null",
        "agent-away",
        "Agent 'a1' has never connected; the command is delivered when it does.",
    ),
    (
        "pending",
        {},
        f"update agents set throttled_until = {LATER}",
        "throttled",
        f"The last post to the agent did not succeed; the next try is {MOMENT}.",
    ),
    (
        "pending",
        {},
        f"update agents set lease_token = gen_random_uuid(), lease_expires_at = {LATER}",
        "being-delivered",
        "It is being delivered right now.",
    ),
    ("pending", {}, "", "due", "It is due; the next delivery or sweep sends it."),
    (
        "sent",
        {"attempt": 2, "sent_at": "2026-01-01", "ack_deadline": "2026-01-02"},
        "",
        "waiting-for-ack",
        r"Attempt 2 of 10 was sent 2026-01-01 00:00:00 UTC; the agent has until 2026-01-02 00:00:00 UTC to answer.",
    ),
    (
        "acknowledged",
        {"attempt": 1, "acknowledged_at": "2026-01-01", "execution_deadline": "2026-01-02"},
        "",
        "executing",
        "The agent has been executing it since 2026-01-01 00:00:00 UTC; it has until 2026-01-02 00:00:00 UTC.",
    ),
    (
        "acknowledged",
        {
            "attempt": 1,
            "acknowledged_at": "2026-01-01",
            "execution_deadline": "2026-01-02",
            "cancel_requested_at": "2026-01-01",
        },
        "update agents set connection_id = null",
        "executing",
        f".* A cancel was requested; the agent's protocol has no way to tell it. The agent has been offline since {MOMENT}.",
    ),
    (
        "sent",
        {"attempt": 1, "cancel_requested_at": "2026-01-01"},
        "update agents set connection_id = null",
        "waiting-for-ack",
        f".* A cancel was requested; the agent's protocol has no way to tell it. The agent has been offline since {MOMENT}.",
    ),
    (
        "failed",
        {"attempt": 1, "completed_at": "2026-01-01", "error_message": "no such pod"},
        "",
        "ended",
        "It ended 2026-01-01 00:00:00 UTC: no such pod.",
    ),
]


@pytest.mark.parametrize(("status", "columns", "then", "reason", "sentence"), SITUATIONS)
def test_each_situation_has_a_code_and_a_sentence(
    conn: Connection, *, status: str, columns: dict[str, Any], then: str, reason: str, sentence: str
) -> None:
    """The sentence contains a point in time if there is one."""
    connect_new_agent(conn)
    put(conn, "k1", status=status, **columns)
    for statement in filter(None, then.split(";")):
        conn.execute(statement.encode())

    why = explain(conn, "k1", None)

    assert why.reason == reason
    assert re.fullmatch(sentence, why.sentence), why.sentence


def test_the_explanation_names_the_command_that_goes_first(conn: Connection) -> None:
    """This is the command that the agent has; otherwise the first of the queue, with the number of further ones."""
    connect_new_agent(conn)
    for number in range(5):
        put(conn, f"k{number}")
    first_of_three = explain(conn, "k3", None).sentence
    second = explain(conn, "k1", None).sentence
    deliver(conn, FakeGateway(), "a1", plenty)

    assert first_of_three == "Command k0 goes before it, and 2 more for the same agent."
    assert second == "Command k0 goes before it."
    assert explain(conn, "k3", None).sentence == "The agent has not yet answered command k0."


def test_commands_in_flight_are_a_reason_to_wait_only_if_the_window_is_full(conn: Connection) -> None:
    """The agent takes several commands at a time."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=2)
    put(conn, "k1", status="sent", attempt=1, epoch=1)
    put(conn, "k2")
    with_room = explain(conn, "k2", None).reason
    put(conn, "k0", status="sent", attempt=1, epoch=1)

    assert with_room == "due"
    assert explain(conn, "k2", None).reason == "behind"


def test_a_docker_agents_command_waits_only_for_its_own_session(conn: Connection) -> None:
    """A command of another session does not delay it."""
    connect_new_agent(conn, mode=DeliveryMode.UNACKNOWLEDGED)
    put(conn, "k-other", session_id="s2", status="sent", attempt=1)
    put(conn, "k1", session_id="s1")

    assert explain(conn, "k1", None).reason == "due"
