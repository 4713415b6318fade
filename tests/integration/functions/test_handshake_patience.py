"""A handshake that the database holds up is answered in time."""

import psycopg
import pytest

from dispatcher.platform import database
from tests.integration.functions import conftest
from tests.integration.functions.events import Run, sample


@pytest.mark.usefixtures("agent")
def test_a_handshake_of_an_agent_whose_row_is_locked_is_put_off(
    run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 says that the agent is to come again; a worker that waits until it is killed says 502."""

    def remaining(_context: object) -> int:
        return 1200

    monkeypatch.setattr(conftest.Context, "get_remaining_time_in_millis", remaining)

    with psycopg.connect(database_url) as other:
        other.execute("select from agents for update")
        answer = run("connect")

    assert answer == {"statusCode": 503}
    assert run("connect") == {"statusCode": 200}


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
