"""A handshake that the database holds up is answered in time."""

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from dispatcher.agents import connections
from dispatcher.agents.connections import Origin
from dispatcher.platform import database
from dispatcher.platform.database import Connection, open_connection
from dispatcher.protocol.handshake import Handshake
from tests.integration.functions import conftest
from tests.integration.functions.events import AGENT, Run, sample
from tests.rows import connect, current_connection, waits_for_lock


@pytest.mark.usefixtures("agent")
def test_a_handshake_of_an_agent_whose_row_is_locked_is_put_off(
    run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 says that the agent is to come again; a worker that waits until it is killed says 502."""

    def remaining(_context: object) -> int:
        return 1600

    monkeypatch.setattr(conftest.Context, "get_remaining_time_in_millis", remaining)

    with psycopg.connect(database_url) as other:
        other.execute("select from agents for update")
        answer = run("connect")

    assert answer == {"statusCode": 503}
    assert run("connect") == {"statusCode": 200}


@pytest.mark.usefixtures("agent")
def test_a_handshake_that_was_put_off_replaces_no_connection(conn: Connection, database_url: str) -> None:
    """I8: its statement goes on when the lock is gone, but the agent has only its older connection."""
    connect(conn, AGENT, "older")
    handshake, origin = Handshake(), Origin()
    with open_connection(database_url) as late, ThreadPoolExecutor() as threads, psycopg.connect(database_url) as other:
        other.execute("select from agents for update")
        opening = threads.submit(
            connections.open_connection, late, AGENT, "late", handshake=handshake, origin=origin, patience=0.05
        )
        while not waits_for_lock(conn, late):
            time.sleep(0.02)
        time.sleep(0.1)  # longer than its patience
        other.commit()

        with pytest.raises(database.INTERRUPTIONS):
            opening.result()

    assert current_connection(conn, AGENT) == "older"


@pytest.mark.usefixtures("agent")
def test_a_handshake_while_the_database_is_away_is_put_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An authorizer can only say 401, 403 or 500, so `connect` says 503; it knows no agent, and opens nothing."""
    monkeypatch.setattr(database, "RETRY_PAUSES", (0.01,))
    with monkeypatch.context() as away:
        away.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
        facts = run("authorize_agent")["context"]
    event = sample("connect")
    event["requestContext"]["authorizer"] = facts

    assert "agentId" not in facts
    assert run("connect", event) == {"statusCode": 503}
    assert "agentId" in run("authorize_agent")["context"]
