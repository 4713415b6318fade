"""Incarnations: an id that is created again is another agent, and nothing of the old one is reachable through it."""

import json
from typing import Any

import pytest

from dispatcher.access.roles import Operator, Role
from dispatcher.agents import agent_keys, registry
from dispatcher.commands import cancellation, command_records, deadlines, submission
from dispatcher.commands.delivery import deliver
from dispatcher.commands.explanation import explain
from dispatcher.commands.sweep import sweep
from dispatcher.errors import UnknownAgent, UnknownCommand
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import answer_session, connect, connect_new_agent, find, put, receive, report, report_of, say, statuses

ADMIN = Operator(username="ann", role=Role.ADMIN)


def delete(conn: Connection, gateway: FakeGateway | None = None) -> None:
    """Delete the agent."""
    registry.delete(conn, gateway or FakeGateway(), "a1", ADMIN)


def create_again(conn: Connection, labels: dict[str, str] | None = None) -> None:
    """Create the id of the deleted agent again."""
    again = registry.insert(
        conn, agent_id="a1", platform="kubernetes", region=None, labels=labels or {}, approval="approved"
    )
    assert again is not None


def test_deleting_an_agent_ends_what_was_its_own(conn: Connection) -> None:
    """A1, A2: with the reason; what has ended stays as it is."""
    connect_new_agent(conn)
    for status in ("pending", "sent", "acknowledged", "completed", "dead"):
        put(conn, f"k-{status}", status=status, attempt=1, error_message="as it was")
    put(conn, "k-failed-before", attempt=1, agent_error="no disk")
    gateway = FakeGateway()

    delete(conn, gateway)

    alive = ("pending", "sent", "acknowledged")
    rows = conn.execute(
        "select command_id, status, error_message, cause, ack_deadline, execution_deadline from agent_commands order by seq"
    ).fetchall()
    cancelled = ("cancelled", "its agent was deleted", "its agent was deleted by ann", None, None)
    assert rows[:3] == [(f"k-{status}", *cancelled) for status in alive]
    assert rows[3:5] == [(f"k-{end}", end, "as it was", "accepted", None, None) for end in ("completed", "dead")]
    assert rows[5][2] == "its agent was deleted; the agent reported: no disk"  # both are told
    assert gateway.closed == ["c1"]


def test_a_new_agent_of_the_id_gets_nothing_of_the_old_ones_queue(conn: Connection) -> None:
    """A1: `wipe_disk` was for another device.  Nor is it told to stop what it was never sent."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    put(conn, "wipe_disk")
    put(conn, "hung", status="timed_out", attempt=1, epoch=1, stop_wanted=True)
    delete(conn)
    # Accepted while the agent was being deleted.
    put(conn, "orphan", incarnation=1)
    create_again(conn)
    connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING, window=9)
    cancellation.request_cancel(conn, "hung", ADMIN)
    put(conn, "new")
    gateway = FakeGateway()

    deliver(conn, gateway, "a1", plenty)

    (message,) = gateway.messages
    assert [command["commandId"] for command in message["commands"]] == ["new"]


@pytest.mark.parametrize("again", [True, False])
def test_a_command_that_was_accepted_during_the_deletion_is_cancelled(conn: Connection, *, again: bool) -> None:
    """A2: otherwise it would be pending for ever, whether or not the id is in use again."""
    connect_new_agent(conn)
    delete(conn)
    put(conn, "orphan", incarnation=1)
    if again:
        create_again(conn)
        put(conn, "new")

    moved = deadlines.end_orphans(conn, 10)

    assert moved == 1
    assert statuses(conn) == {"orphan": "cancelled", **({"new": "pending"} if again else {})}
    assert find(conn, "orphan").error_message == "its agent was deleted"


REPORTS: list[dict[str, Any]] = [
    {"type": "ack", "payload": {"commandId": "k1"}},
    {"type": "complete", "payload": {"commandId": "k1", "result": "theirs"}},
    {"type": "failed", "payload": {"commandId": "k1", "error": "theirs"}},
    {"type": "command_response", "sessionId": "s1", "success": True},
    {"type": "resume", "running": [{"commandId": "k1", "attempt": 1}]},
    *(
        {"type": "reports", "reports": [report]}
        for report in (
            report_of("ack"),
            report_of("progress", progress=1),
            report_of("complete"),
            report_of("cancelled"),
            report_of("failed", error="no"),
            report_of("failed", retryable=True),
        )
    ),
]


@pytest.mark.parametrize("status", ["sent", "acknowledged", "timed_out", "dead", "expired"])
@pytest.mark.parametrize("frame", REPORTS, ids=lambda frame: json.dumps(frame)[:60])
def test_a_new_agent_settles_nothing_of_the_old_one(conn: Connection, frame: dict[str, Any], status: str) -> None:
    """I9, I19: a device that keeps its reports and enrols again would give the old commands its results."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    put(conn, "k1", status=status, attempt=1, epoch=1, session_id="s1")
    delete(conn)
    create_again(conn)
    connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING, window=9)
    before = conn.execute("select * from agent_commands").fetchall()

    receive(conn, "a1", "c2", json.dumps(frame))

    assert conn.execute("select * from agent_commands").fetchall() == before


def test_an_old_socket_is_mute_at_once(conn: Connection) -> None:
    """A5: neither a report nor a heartbeat over it counts, before and after the id is in use again."""
    connect_new_agent(conn, platform="docker")
    delete(conn)
    refused = [say(conn, "heartbeat")]
    create_again(conn)
    put(conn, "k1", status="sent", attempt=1, epoch=2, session_id="s1")
    conn.execute("update agents set last_seen_at = null")

    say(conn, "heartbeat")
    answer_session(conn, "s1")
    say(conn, "ack", commandId="k1")

    assert refused == [False]
    assert statuses(conn) == {"k1": "sent"}
    assert conn.execute("select last_seen_at, connection_id from agents").fetchone() == (None, None)


def test_a_connection_of_a_revoked_key_is_mute_although_its_events_do_not_name_the_key(conn: Connection) -> None:
    """I22: an older version of the authorizer does not name it; the connection itself is known by its key."""
    connect_new_agent(conn)
    key, _ = agent_keys.issue(conn, "a1", ADMIN)
    put(conn, "k1", status="sent", attempt=1, epoch=1)
    conn.execute("update agent_connections set key_id = %s", (key.key_id,))
    agent_keys.revoke(conn, FakeGateway(), "a1", str(key.key_id), ADMIN)

    moved = say(conn, "complete", commandId="k1")

    assert not moved
    assert statuses(conn) == {"k1": "sent"}


def test_an_old_key_does_not_open_the_new_agent(conn: Connection) -> None:
    """I19: its rights end with it."""
    connect_new_agent(conn)
    _, secret = agent_keys.issue(conn, "a1", ADMIN)
    delete(conn)
    create_again(conn)

    assert agent_keys.owner_of(conn, secret, "a1") is None


def test_the_old_commands_are_visible_only_without_a_limit(conn: Connection) -> None:
    """A1: an admin of the new labels reads neither commands, history nor why."""
    connect_new_agent(conn)
    put(conn, "k1", status="completed", attempt=1)
    delete(conn)
    create_again(conn, {"region": "eu"})
    scope = {"region": "eu"}

    for read in (command_records.find, command_records.history, explain):
        with pytest.raises(UnknownCommand):
            read(conn, "k1", scope)
        read(conn, "k1", None)
    assert registry.find(conn, "a1", scope).last_seen_at is None


def test_why_says_that_a_command_was_for_an_earlier_agent(conn: Connection) -> None:
    """Until the next sweep cancels it."""
    connect_new_agent(conn)
    delete(conn)
    create_again(conn)
    put(conn, "orphan", incarnation=1)

    why = explain(conn, "orphan", None)

    assert why.reason == "agent-deleted"
    assert why.sentence == "It was for an earlier agent of the id 'a1'."


def test_a_deleted_agent_is_unknown_to_submissions_until_its_id_is_in_use_again(conn: Connection) -> None:
    """A command for the new agent has its incarnation, and a sweep leaves it."""
    connect_new_agent(conn)
    delete(conn)
    new = submission.NewCommand(agent_id="a1", action="noop")
    with pytest.raises(UnknownAgent):
        submission.submit(conn, new, ADMIN)
    create_again(conn)

    accepted = submission.submit(conn, new, ADMIN)
    sweep(conn, FakeGateway(), deadline=plenty)

    assert statuses(conn) == {accepted.command.command_id: "pending"}
    assert conn.execute("select incarnation from agent_commands").fetchone() == (2,)


def test_a_new_agent_does_not_have_the_old_ones_delivery_mode(conn: Connection) -> None:
    """Until it connects nobody knows how it speaks; a payload is judged by its platform."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    report(conn, report_of("ack"))
    delete(conn)
    create_again(conn)

    assert conn.execute("select dialect, delivery_window from agents").fetchone() == ("acknowledging", 1)
