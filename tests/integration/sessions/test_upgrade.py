"""Sessions that were stored by an earlier version get a state that is true."""

from importlib import resources

import pytest

from dispatcher.platform.database import Connection
from dispatcher.sessions import session_records
from tests.rows import create_agent, put

FILE = "0006_sessions.sql"


@pytest.fixture
def earlier(conn: Connection) -> Connection:
    """A database with all schema files before this one."""
    conn.execute("drop schema public cascade")
    conn.execute("create schema public")
    folder = resources.files("dispatcher") / "schema"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql") and file.name < FILE:
            conn.execute(file.read_bytes())
    return conn


def put_earlier(conn: Connection, name: str, state: str, agent_id: str = "a1", details: str | None = None) -> None:
    """Insert a session as the earlier version did."""
    conn.execute(
        """insert into sessions (name, agent_id, owner, template, resources, persistent_home, state, details)
           values (%s, %s, 'u', 't', '{}', false, %s, %s)""",
        (name, agent_id, state, details),
    )


def test_sessions_that_were_forgotten_are_unknown_and_those_of_deleted_agents_end(earlier: Connection) -> None:
    """The others stay what they are, and follow their commands from now on."""
    create_agent(earlier, "a1")
    create_agent(earlier, "gone")
    for state in ("pending", "running", "stopping", "hibernating", "hibernated", "waking", "terminated", "failed"):
        put_earlier(earlier, f"was-{state}", state)
    put_earlier(earlier, "under-way", "stopping")
    put(earlier, "k1", action="stop_session", session_id="under-way")
    put_earlier(earlier, "of-deleted", "running", "gone")
    put_earlier(earlier, "large", "running", details='{"screen": "%s"}' % ("x" * 100_000))
    put_earlier(earlier, "odd", "running", details="[1]")
    earlier.execute("update agents set deleted_at = now() where agent_id = 'gone'")

    earlier.execute((resources.files("dispatcher") / "schema" / FILE).read_bytes())
    earlier.execute(
        "update agent_commands set status = 'failed', attempt = 1, error_message = 'no' where command_id = 'k1'"
    )

    found = {each.name: each for each in session_records.list_page(earlier, scope=None, after=None, limit=99)}
    assert {name: each.state for name, each in found.items()} == {
        "was-pending": "unknown",
        "was-running": "running",
        "was-stopping": "unknown",
        "was-hibernating": "unknown",
        "was-hibernated": "hibernated",
        "was-waking": "unknown",
        "was-terminated": "terminated",
        "was-failed": "failed",
        "under-way": "running",
        "of-deleted": "terminated",
        "large": "running",
        "odd": "running",
    }
    assert found["large"].details == {"reason": "the details are larger than 16 KB and were not kept"}
    assert found["odd"].details == {"result": [1]}
