"""Sessions: which agent runs a session, and who may change its state."""

from dispatcher.platform.database import Connection
from dispatcher.sessions import session_records
from tests.rows import connect_new_agent, create_agent, put_session, say


def test_an_agents_status_changes_only_its_own_sessions(conn: Connection) -> None:
    """The original updated the sessions of any agent."""
    for name in ("a1", "a2"):
        connect_new_agent(conn, name, f"c-{name}")
        put_session(conn, f"s-{name}", name)

    for session in ("s-a1", "s-a2"):
        say(conn, "status", connection_id="c-a1", sessionId=session, state="failed")

    states = conn.execute("select name, state from sessions order by name").fetchall()
    assert states == [("s-a1", "failed"), ("s-a2", "pending")]


def test_a_session_is_started_only_at_an_agent_that_its_operator_may_see(conn: Connection) -> None:
    """If the request names no agent, an approved agent with the operator's labels is chosen."""
    connect_new_agent(conn, "us-1", "c1")
    conn.execute('update agents set labels = \'{"region": "us"}\'')
    before = session_records.choose_agent(conn, {"region": "eu"})
    create_agent(conn, "eu-0")
    create_agent(conn, "eu-1")
    conn.execute("update agents set labels = '{\"region\": \"eu\"}' where agent_id like 'eu%'")
    conn.execute("update agents set approval = 'pending' where agent_id = 'eu-0'")

    assert before is None
    assert session_records.choose_agent(conn, {"region": "eu"}) == "eu-1"
