"""The function `sessions`: start, stop, hibernate and wake, and start again with the same Idempotency-Key."""

import re
from typing import Any

import pytest

from dispatcher.platform.database import Connection
from tests.fakes import FakeGateway
from tests.integration.functions.events import AGENT, Run, ask
from tests.rows import connect, create_agent, statuses

SESSIONS = "/api/v1/sessions"
BODY = {"user": "ann.b", "template": "firefox-browser", "resources": {"memory": "1Gi"}}


def start(run: Run, **options: Any) -> tuple[int, Any]:
    """Request a session."""
    return ask(run, "sessions", "POST", SESSIONS, {**BODY, **options.pop("body", {})}, **options)


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("method", "path", "action"),
    [("DELETE", "", "stop_session"), ("POST", "/hibernate", "hibernate_session"), ("POST", "/wake", "wake_session")],
)
def test_every_action_on_a_session_is_sent_to_its_agent(
    run: Run, conn: Connection, gateway: FakeGateway, *, method: str, path: str, action: str
) -> None:
    """R30: the original answered success and sent nothing."""
    _, session = ask(run, "sessions", "POST", "/api/v1/sessions", {**BODY, "agentId": AGENT})
    conn.execute("update agent_commands set status = 'completed', cause = 'done'")
    connect(conn, AGENT, "c1")

    status, command = ask(run, "sessions", method, f"/api/v1/sessions/{session['name']}{path}")

    (frame,) = [message["payload"] for message in gateway.messages]
    assert status == 202
    assert frame["action"] == action
    assert frame["commandId"] == command["commandId"]
    assert frame["payload"]["sessionId"] == session["name"]


@pytest.mark.usefixtures("agent")
def test_one_idempotency_key_starts_one_session(run: Run, conn: Connection) -> None:
    """There is also only one command that starts it, although the second request would choose another agent."""
    first = start(run, idempotency_key="k1")
    create_agent(conn, "idle")
    again = start(run, idempotency_key="k1")

    assert first == again
    assert first[0] == 201
    assert list(statuses(conn).values()) == ["pending"]
    assert conn.execute("select count(*) from sessions").fetchone() == (1,)


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    "other",
    [
        {"template": "vscode"},
        {"user": "bob"},
        {"resources": {"memory": "2Gi"}},
        {"persistentHome": True},
        {"agentId": "a2"},
    ],
    ids=str,
)
def test_an_idempotency_key_of_another_request_starts_no_session(
    run: Run, conn: Connection, other: dict[str, Any]
) -> None:
    """It stores neither a command nor a session."""
    create_agent(conn, "a2")
    conn.execute("insert into session_templates (name, manifest) select 'vscode', manifest from session_templates")
    start(run, idempotency_key="k1", body={"agentId": AGENT})

    status, problem = start(run, idempotency_key="k1", body={"agentId": AGENT, **other})

    assert status == 409
    assert problem["type"].rpartition(":")[2] == "idempotency-key-reused"
    assert len(statuses(conn)) == 1
    assert conn.execute("select count(*) from sessions").fetchone() == (1,)


@pytest.mark.usefixtures("agent")
def test_an_idempotency_key_does_not_restart_a_session_whose_command_was_pruned(run: Run, conn: Connection) -> None:
    """Ended commands are pruned after RetentionDays; sessions are kept longer."""
    start(run, idempotency_key="nightly")
    conn.execute("delete from agent_commands")

    assert start(run, idempotency_key="nightly")[0] == 409
    assert statuses(conn) == {}


def test_a_repeated_request_gets_its_answer_although_its_agent_was_deleted(
    run: Run, agent: str, conn: Connection
) -> None:
    """The same holds for commands.  The session has ended with its agent."""
    first = start(run, idempotency_key="k1")
    conn.execute("update agents set deleted_at = now() where agent_id = %s", (agent,))

    again = start(run, idempotency_key="k1")

    assert again[0] == first[0] == 201
    assert again[1]["commandId"] == first[1]["commandId"]
    assert again[1]["state"] == "terminated"


@pytest.mark.usefixtures("agent")
def test_each_request_without_a_key_or_with_another_one_starts_its_own_session(run: Run, conn: Connection) -> None:
    """Their names differ."""
    names = {
        start(run, **options)[1]["name"] for options in ({}, {}, {"idempotency_key": "k1"}, {"idempotency_key": "k2"})
    }

    assert len(names) == 4
    assert len(statuses(conn)) == 4


@pytest.mark.usefixtures("agent")
def test_a_second_stop_of_a_session_that_has_ended_changes_nothing(run: Run, conn: Connection) -> None:
    """It is answered with the session; only a new session can be woken."""
    _, session = start(run)
    path = f"{SESSIONS}/{session['name']}"
    ask(run, "sessions", "DELETE", path)
    conn.execute("update agent_commands set status = 'completed', attempt = 1")
    ended = ask(run, "sessions", "GET", path)
    commands = len(statuses(conn))

    again = ask(run, "sessions", "DELETE", path)
    others = [ask(run, "sessions", "POST", f"{path}/{action}")[0] for action in ("wake", "hibernate")]

    assert ended[1]["state"] == "terminated"
    assert again == (200, ended[1])
    assert others == [409, 409]
    assert len(statuses(conn)) == commands


def test_a_session_of_a_deleted_agent_can_be_stopped(run: Run, agent: str, conn: Connection) -> None:
    """A session that was being recorded while its agent was deleted is ended by the request."""
    _, session = start(run)
    _, late = start(run)
    ask(run, "agents", "DELETE", f"/api/v1/agents/{agent}")
    conn.execute("update sessions set state = 'pending', known_state = 'pending' where name = %s", (late["name"],))

    answers = [ask(run, "sessions", "DELETE", f"{SESSIONS}/{each['name']}") for each in (session, late)]

    assert [(status, body["state"]) for status, body in answers] == [(200, "terminated")] * 2


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("user", ["1ann", "A.N.N", "a" * 63, "9" * 63, "ann-"])
def test_the_name_of_a_session_is_a_name_for_kubernetes_and_docker(run: Run, user: str) -> None:
    """Services begin with a letter, and nothing is longer than 63; what is no value of a label is refused."""
    status, session = start(run, body={"user": user})
    _, repeatable = start(run, body={"user": user}, idempotency_key="k1")

    assert status == (422 if user == "ann-" else 201)
    for each in (session, repeatable):
        assert status == 422 or re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", each["name"])
