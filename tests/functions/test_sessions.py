"""Starting a session again with the same Idempotency-Key, as a script does that got no answer."""

from typing import Any

import pytest

from dispatcher.platform.database import Connection
from tests.functions.conftest import AGENT, Run
from tests.functions.test_intake import ask
from tests.rows import provide, statuses

SESSIONS = "/api/v1/sessions"
BODY = {"user": "ann.b", "template": "firefox-browser", "resources": {"memory": "1Gi"}}


def start(run: Run, **options: Any) -> tuple[int, Any]:
    """Ask for a session."""
    return ask(run, "sessions", "POST", SESSIONS, {**BODY, **options.pop("body", {})}, **options)


@pytest.mark.usefixtures("agent")
def test_one_key_is_one_session(run: Run, conn: Connection) -> None:
    """And one command that starts it, though another agent would be chosen now."""
    first = start(run, idempotency_key="k1")
    provide(conn, "idle")
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
def test_a_key_of_another_request_starts_nothing(run: Run, conn: Connection, other: dict[str, Any]) -> None:
    """Not even a session that no command starts."""
    provide(conn, "a2")
    start(run, idempotency_key="k1", body={"agentId": AGENT})

    status, problem = start(run, idempotency_key="k1", body={"agentId": AGENT, **other})

    assert (status, problem["type"].rpartition(":")[2]) == (409, "idempotency-key-reused")
    assert len(statuses(conn)) == 1
    assert conn.execute("select count(*) from sessions").fetchone() == (1,)


def test_a_key_that_outlived_its_command_starts_no_old_session_anew(run: Run, agent: str, conn: Connection) -> None:
    """Commands are kept for RetentionDays, sessions for longer."""
    del agent
    start(run, idempotency_key="nightly")
    conn.execute("delete from agent_commands")

    assert start(run, idempotency_key="nightly")[0] == 409
    assert statuses(conn) == {}


def test_a_request_that_was_accepted_is_told_so_though_its_agent_is_gone(
    run: Run, agent: str, conn: Connection
) -> None:
    """As it is for commands."""
    first = start(run, idempotency_key="k1")
    conn.execute("update agents set deleted_at = now() where agent_id = %s", (agent,))

    assert start(run, idempotency_key="k1") == first


@pytest.mark.usefixtures("agent")
def test_keys_are_everyones_own_and_without_one_each_request_is_another(run: Run, conn: Connection) -> None:
    """The names are drawn."""
    names = {
        start(run, **options)[1]["name"] for options in ({}, {}, {"idempotency_key": "k1"}, {"idempotency_key": "k2"})
    }

    assert len(names) == 4
    assert len(statuses(conn)) == 4
