"""The functions `authorize_agent` and `connect`: who may open a connection."""

import pytest

from dispatcher.access.credentials import key_hash
from dispatcher.platform.database import Connection
from tests.integration.functions.events import AGENT, KEY, Run, admission
from tests.rows import connect_new_agent

OTHER = "other-agent"


@pytest.fixture
def other(conn: Connection) -> str:
    """Another approved agent with a key, connected."""
    connect_new_agent(conn, OTHER, "c-other")
    conn.execute("insert into agent_keys (agent_id, key_hash) values (%s, %s)", (OTHER, key_hash("f" * 64)))
    return OTHER


@pytest.mark.usefixtures("agent", "other")
@pytest.mark.parametrize(
    ("key", "agent_id", "effect"),
    [
        (KEY, AGENT, "Allow"),
        (KEY, OTHER, "Deny"),
        (KEY, "unknown", "Deny"),
        (KEY[:32], AGENT, "Deny"),
        (KEY[:-1] + "0", AGENT, "Deny"),
        (KEY + "0", AGENT, "Deny"),
        ("", AGENT, "Deny"),
        (KEY, "", "Deny"),
        (KEY, AGENT[:-1], "Deny"),
    ],
)
def test_a_key_opens_connections_of_its_own_agent_only(run: Run, key: str, agent_id: str, effect: str) -> None:
    """Not a prefix of the key, not the key of another agent, and there is no common bootstrap key."""
    assert admission(run, key, agent_id) == effect


@pytest.mark.parametrize("approval", ["pending", "rejected"])
def test_an_unapproved_agent_is_refused_by_the_authorizer_and_by_connect(
    run: Run, agent: str, conn: Connection, approval: str
) -> None:
    """An operator may reject it between the authorizer and `connect`."""
    conn.execute("update agents set approval = %s", (approval,))

    answer = run("connect")

    row = conn.execute("select connection_id, epoch from agents where agent_id = %s", (agent,)).fetchone()
    assert admission(run, KEY) == "Deny"
    assert answer["statusCode"] == 403
    assert row == (None, 0)


@pytest.mark.usefixtures("agent")
def test_a_key_that_is_revoked_during_the_handshake_opens_no_connection(run: Run, conn: Connection) -> None:
    """After the authorizer has allowed it and before the connection is recorded."""
    conn.execute("update agent_keys set revoked_at = now()")

    answer = run("connect")

    assert answer["statusCode"] == 403
    assert conn.execute("select count(*) from agent_connections").fetchone() == (0,)
