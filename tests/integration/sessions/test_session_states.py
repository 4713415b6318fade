"""Sessions follow their commands, whichever program ends them."""

import threading
from typing import Any

import psycopg
import pytest

from dispatcher.access.roles import Operator, Role
from dispatcher.agents import registry
from dispatcher.commands import cancellation, deadlines
from dispatcher.commands.delivery import deliver
from dispatcher.platform.database import Connection, open_connection
from dispatcher.protocol.handshake import DeliveryMode
from dispatcher.sessions import session_records
from tests.fakes import FakeGateway, plenty
from tests.rows import (
    answer_session,
    connect,
    connect_new_agent,
    create_agent,
    move_into_past,
    put,
    put_session,
    report,
    report_of,
    say,
    statuses,
)

ADMIN = Operator(username="admin", role=Role.ADMIN)
BEFORE = {
    "start_session": "pending",
    "stop_session": "running",
    "hibernate_session": "running",
    "wake_session": "hibernated",
}
WHILE = {
    "start_session": "pending",
    "stop_session": "stopping",
    "hibernate_session": "hibernating",
    "wake_session": "waking",
}
AFTER = {
    "start_session": "running",
    "stop_session": "terminated",
    "hibernate_session": "hibernated",
    "wake_session": "running",
}
UNCHANGED = {**BEFORE, "start_session": "failed"}
UNKNOWN = dict.fromkeys(BEFORE, "unknown")
EXECUTED = {"attempt": 1, "sent_at": "now"}


def state_of(conn: Connection, name: str = "s1") -> str:
    """Read a session's state."""
    return session_records.find(conn, name, None).state


def details_of(conn: Connection, name: str = "s1") -> Any:
    """Read a session's details."""
    return session_records.find(conn, name, None).details


def known(conn: Connection, state: str, name: str = "s1") -> None:
    """Insert a session whose agent has reported this state."""
    put_session(conn, name)
    if state != "pending":
        session_records.set_state(conn, "a1", name, state)


def act(conn: Connection, action: str, command_id: str = "k1", name: str = "s1", **columns: Any) -> None:
    """Submit a command for a session with psql."""
    put(conn, command_id, action=action, session_id=name, **columns)


def end(conn: Connection, status: str, command_id: str = "k1", *, attempt: int = 1, cause: str = "it ended") -> None:
    """End a command with psql."""
    conn.execute(
        "update agent_commands set status = %s, attempt = %s, cause = %s where command_id = %s",
        (status, attempt, cause, command_id),
    )


@pytest.mark.parametrize("action", BEFORE)
@pytest.mark.parametrize(
    ("status", "attempt", "cause", "then"),
    [
        ("completed", 1, "completed by its agent", AFTER),
        ("failed", 1, "failed at its agent", UNCHANGED),
        ("expired", 0, "not delivered in time", UNCHANGED),
        ("cancelled", 0, "cancelled by ann", UNCHANGED),
        ("cancelled", 2, "cancelled by its agent", UNCHANGED),
        ("dead", 0, "never sent", UNCHANGED),
        ("expired", 1, "not delivered in time", UNKNOWN),
        ("cancelled", 1, "cancelled by ann", UNKNOWN),
        ("dead", 10, "no attempt left", UNKNOWN),
        ("timed_out", 1, "no result in time", UNKNOWN),
    ],
)
def test_every_end_of_a_command_moves_its_session_to_a_state_that_is_true(
    conn: Connection, action: str, status: str, *, attempt: int, cause: str, then: dict[str, str]
) -> None:
    """Whatever surely changed nothing leaves what was; whatever may have been executed leaves a doubt."""
    create_agent(conn)
    known(conn, BEFORE[action])

    act(conn, action)
    under_way = state_of(conn)
    end(conn, status, attempt=attempt, cause=cause)

    assert under_way == WHILE[action]
    assert state_of(conn) == then[action]
    assert (status == "completed") == (details_of(conn) is None)


@pytest.mark.parametrize("action", BEFORE)
@pytest.mark.parametrize("status", ["expired", "cancelled", "dead", "timed_out"])
@pytest.mark.parametrize(("late", "then"), [("completed", AFTER), ("failed", UNCHANGED)])
def test_a_late_result_replaces_the_services_guess(
    conn: Connection, action: str, status: str, *, late: str, then: dict[str, str]
) -> None:
    """For the session as for its command."""
    create_agent(conn)
    known(conn, BEFORE[action])
    act(conn, action)
    end(conn, status)

    end(conn, late)

    assert state_of(conn) == then[action]


def test_a_status_ends_every_doubt(conn: Connection) -> None:
    """The agent knows what it holds."""
    connect_new_agent(conn)
    known(conn, "running")
    act(conn, "stop_session", attempt=1)
    end(conn, "timed_out")
    doubtful = state_of(conn)

    say(conn, "status", sessionId="s1", state="running", vncPort=3000)

    assert (doubtful, state_of(conn)) == ("unknown", "running")
    assert details_of(conn) == {"vncPort": 3000}


def test_a_session_that_runs_is_not_doubted_because_its_starts_result_is_missing(conn: Connection) -> None:
    """The k8s-agent says `status` before `complete`."""
    connect_new_agent(conn)
    known(conn, "pending")
    act(conn, "start_session")
    say(conn, "status", sessionId="s1", state="running")
    end(conn, "timed_out")

    assert state_of(conn) == "running"


def test_a_late_result_of_an_older_command_does_not_undo_a_newer_one(conn: Connection) -> None:
    """The stop ended the session before the start's result arrived."""
    create_agent(conn)
    known(conn, "pending")
    act(conn, "start_session", "k1")
    end(conn, "timed_out", "k1")
    act(conn, "stop_session", "k2")
    end(conn, "completed", "k2")

    end(conn, "completed", "k1")

    assert state_of(conn) == "terminated"


def test_two_doubts_end_one_by_one(conn: Connection) -> None:
    """The result of one of two commands that may have been executed leaves the other one's doubt."""
    create_agent(conn)
    known(conn, "pending")
    act(conn, "start_session", "k1")
    end(conn, "timed_out", "k1")
    act(conn, "hibernate_session", "k2")
    end(conn, "timed_out", "k2")

    end(conn, "completed", "k1")
    with_one = state_of(conn)
    end(conn, "failed", "k2")

    assert (with_one, state_of(conn)) == ("unknown", "running")


def test_a_state_lasts_until_the_last_command_under_way_has_ended(conn: Connection) -> None:
    """A stop waits behind a hibernate; cancelling it shows the hibernate again."""
    create_agent(conn)
    known(conn, "running")
    act(conn, "hibernate_session", "k1")
    act(conn, "stop_session", "k2")
    both = state_of(conn)
    end(conn, "cancelled", "k2", attempt=0)
    one = state_of(conn)
    end(conn, "completed", "k1")

    assert (both, one, state_of(conn)) == ("stopping", "hibernating", "hibernated")


def test_a_command_that_is_set_back_by_hand_is_under_way_again(conn: Connection) -> None:
    """An operator with psql may give an ended command another life."""
    create_agent(conn)
    known(conn, "running")
    act(conn, "stop_session")
    end(conn, "timed_out")
    doubtful = state_of(conn)
    conn.execute("update agent_commands set status = 'pending', completed_at = null")
    again = state_of(conn)
    end(conn, "failed")

    assert (doubtful, again, state_of(conn)) == ("unknown", "stopping", "running")


def test_a_started_again_session_is_pending_until_it_runs(conn: Connection) -> None:
    """A redriven start is a new command for the same session."""
    create_agent(conn)
    known(conn, "pending")
    act(conn, "start_session", "k1")
    end(conn, "expired", "k1", attempt=0)
    failed = state_of(conn)
    act(conn, "start_session", "k2")
    again = state_of(conn)
    end(conn, "completed", "k2")

    assert (failed, again, state_of(conn)) == ("failed", "pending", "running")
    assert details_of(conn) is None


def test_details_are_merged_and_a_reason_goes_with_its_state(conn: Connection) -> None:
    """R20: `vnc_ready` has only a part of them; the result of a hibernate has none."""
    connect_new_agent(conn)
    known(conn, "pending")
    act(conn, "start_session", "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    say(conn, "status", sessionId="s1", state="running", platformMetadata={"podName": "p"}, vncPort=3000)
    say(conn, "complete", commandId="k1", result={"sessionId": "s1", "state": "running", "podIP": "10.0.0.1"})
    say(conn, "vnc_ready", sessionId="s1", vncPort=5901)
    act(conn, "hibernate_session", "k2")
    deliver(conn, FakeGateway(), "a1", plenty)
    say(conn, "failed", commandId="k2", error="no such deployment")
    failed = details_of(conn)
    say(conn, "status", sessionId="s1", state="running")

    merged = {"platformMetadata": {"podName": "p"}, "vncPort": 5901, "podIP": "10.0.0.1"}
    assert failed == {**merged, "reason": "hibernate_session failed: no such deployment"}
    assert details_of(conn) == merged


def test_details_stay_small(conn: Connection) -> None:
    """A page of the list has up to 200 sessions, and must fit into an answer."""
    connect_new_agent(conn)
    known(conn, "running")

    for number in range(4):
        say(conn, "status", sessionId="s1", **{f"part{number}": "x" * 6000})
    several = details_of(conn)
    say(conn, "status", sessionId="s1", huge="x" * 100_000)

    assert list(several) == ["part2", "part3"]
    assert details_of(conn) == {"reason": "the details are larger than 16 KB and were not kept"}


@pytest.mark.parametrize("result", [None, [1], "text", 7, {"state": "no such state"}, {"state": 5}])
def test_a_result_of_any_type_moves_the_session(conn: Connection, result: Any) -> None:
    """The action implies the state where the agent does not name one."""
    connect_new_agent(conn)
    known(conn, "pending")
    act(conn, "start_session")
    deliver(conn, FakeGateway(), "a1", plenty)

    say(conn, "complete", commandId="k1", result=result)

    assert statuses(conn) == {"k1": "completed"}
    assert state_of(conn) == "running"


def test_a_start_by_psql_makes_a_session(conn: Connection) -> None:
    """It names its session only in its payload, as StreamSpace's own control plane writes rows."""
    connect_new_agent(conn, platform="docker")
    payload = '{"sessionId": "s1", "user": "ann", "template": "firefox", "memory": "1Gi", "persistentHome": true}'
    put(conn, "k1", action="start_session", payload=payload)
    before = session_records.find(conn, "s1", None)
    deliver(conn, FakeGateway(), "a1", plenty)
    answer_session(conn, "s1", status="running", container={"ip": "172.18.0.2"})

    assert (before.state, before.owner, before.template) == ("pending", "ann", "firefox")
    assert (before.resources, before.persistent_home) == ({"memory": "1Gi"}, True)
    assert statuses(conn) == {"k1": "completed"}
    assert (state_of(conn), details_of(conn)) == ("running", {"container": {"ip": "172.18.0.2"}})


@pytest.mark.parametrize(
    "payload", ['{"sessionId": 7}', '{"sessionId": ""}', '["sessionId"]', '"sessionId"', "{}", None]
)
def test_a_payload_without_a_sessions_name_is_accepted_as_it_is(conn: Connection, payload: str | None) -> None:
    """Any JSON may be a payload."""
    create_agent(conn)
    put(conn, "k1", action="start_session", payload=payload)
    put(conn, "k2", action="start_session", payload='{"sessionId": "%s"}' % ("x" * 5000))

    assert conn.execute("select session_id from agent_commands").fetchall() == [(None,), (None,)]
    assert conn.execute("select count(*) from sessions").fetchone() == (0,)


def test_a_command_for_a_session_of_another_agent_does_not_move_it(conn: Connection) -> None:
    """Nor does a start of the same name."""
    create_agent(conn, "a1")
    create_agent(conn, "a2")
    known(conn, "running")

    for number, action in enumerate(AFTER):
        put(conn, f"k{number}", "a2", action=action, session_id="s1")
        end(conn, "completed", f"k{number}")

    assert state_of(conn) == "running"


def test_the_docker_agents_answer_to_a_second_stop_ends_the_session(conn: Connection) -> None:
    """The container is gone: the agent got one stop twice, or somebody removed the container."""
    connect_new_agent(conn, platform="docker")
    known(conn, "running")
    act(conn, "stop_session")
    deliver(conn, FakeGateway(), "a1", plenty)

    answer_session(conn, "s1", success=False, error="Container not found: container not found for session: s1")

    assert statuses(conn) == {"k1": "failed"}
    assert state_of(conn) == "terminated"


def test_a_start_that_was_executed_before_leaves_a_doubt(conn: Connection) -> None:
    """A mute k8s-agent executed the first attempt; after its restart it refuses the second one."""
    create_agent(conn)
    known(conn, "pending")
    act(conn, "start_session")
    conn.execute("update agent_commands set attempt = 2, error_message = 'deployments.apps \"s1\" already exists'")
    end(conn, "failed", attempt=2)

    assert state_of(conn) == "unknown"


def test_the_deadlines_move_sessions(conn: Connection) -> None:
    """The sweep ends commands without any report of an agent."""
    connect_new_agent(conn)
    known(conn, "running")
    known(conn, "running", "s2")
    act(conn, "stop_session", "k1", deliver_by="2020-01-01")
    act(conn, "stop_session", "k2", "s2")
    conn.execute("update agent_commands set not_before = now() + interval '1 h' where command_id = 'k1'")
    deliver(conn, FakeGateway(), "a1", plenty)
    say(conn, "ack", commandId="k2")
    move_into_past(conn, "execution_deadline")

    deadlines.expire(conn, 100)
    deadlines.time_out(conn, 100)

    assert statuses(conn) == {"k1": "expired", "k2": "timed_out"}
    assert (state_of(conn), state_of(conn, "s2")) == ("running", "unknown")


def test_an_operators_cancel_moves_the_session_back(conn: Connection) -> None:
    """The stop was never sent."""
    create_agent(conn)
    known(conn, "running")
    act(conn, "stop_session")

    cancellation.cancel(conn, FakeGateway(), "k1", ADMIN, plenty)

    assert state_of(conn) == "running"
    assert details_of(conn) == {"reason": "stop_session cancelled: cancelled by admin"}


def test_an_agent_that_confirms_a_cancel_has_not_executed_the_command(conn: Connection) -> None:
    """This is the one cancel after a post that leaves no doubt; its cause is written by the settlement."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    known(conn, "running")
    act(conn, "stop_session")
    deliver(conn, FakeGateway(), "a1", plenty)
    cancellation.cancel(conn, FakeGateway(), "k1", ADMIN, plenty)

    report(conn, report_of("cancelled"))

    assert statuses(conn) == {"k1": "cancelled"}
    assert state_of(conn) == "running"


def test_a_deleted_agent_holds_no_session(conn: Connection) -> None:
    """Nothing that comes later moves its sessions, and its next incarnation has none of them."""
    connect_new_agent(conn)
    for name, state in (("s1", "running"), ("s2", "pending"), ("s3", "hibernated")):
        known(conn, state, name)
    act(conn, "stop_session", "k1", "s1", attempt=1)
    registry.delete(conn, FakeGateway(), "a1", ADMIN)
    ended = [(each.state, each.details) for each in session_records.list_page(conn, scope=None, after=None, limit=9)]
    end(conn, "failed", "k1")

    conn.execute(
        """update agents
           set deleted_at = null, approval = 'approved', incarnation = incarnation + 1, labels = '{"region": "eu"}'"""
    )
    connect(conn)
    say(conn, "status", sessionId="s1", state="running")
    put(conn, "k2", action="start_session", session_id="s1")
    end(conn, "completed", "k2")

    assert ended == [("terminated", {"reason": "its agent was deleted"})] * 3
    assert state_of(conn) == "terminated"
    assert session_records.get(conn, "s1", {"region": "eu"}) is None


def test_a_session_follows_although_a_new_command_is_being_submitted(conn: Connection, database_url: str) -> None:
    """The end of the start waits for the transaction that submits the stop, and then sees the stop."""
    create_agent(conn)
    known(conn, "pending")
    act(conn, "start_session", "k1")
    with open_connection(database_url) as other, psycopg.connect(database_url) as submitter:
        put(submitter, "k2", action="stop_session", session_id="s1")
        ending = threading.Thread(target=end, args=(other, "completed", "k1"))
        ending.start()
        waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        while not conn.execute(waiting).fetchone():
            assert ending.is_alive()
        submitter.commit()
        ending.join()

    assert state_of(conn) == "stopping"


@pytest.mark.parametrize(
    ("action", "session_id", "calls"),
    [("noop", None, 0), ("start_session", None, 0), ("noop", "s1", 0), ("stop_session", "s1", 1)],
)
def test_only_commands_about_a_session_call_the_triggers(
    conn: Connection, action: str, session_id: str | None, calls: int
) -> None:
    """The table is hot: for all others PostgreSQL checks the conditions of the triggers, and calls nothing."""
    create_agent(conn)
    explain = "explain (analyze, format json) "
    plans = [
        conn.execute(
            explain
            + "insert into agent_commands (command_id, agent_id, action, session_id) values ('k1', 'a1', %s, %s)",
            (action, session_id),
        ).fetchone(),
        conn.execute(explain + "update agent_commands set status = 'completed'").fetchone(),
    ]

    called = [fired["Trigger Name"] for plan in plans if plan for fired in plan[0][0]["Triggers"]]

    assert "agent_commands_admit" in called
    assert len([name for name in called if name.startswith("session_")]) == 2 * calls
