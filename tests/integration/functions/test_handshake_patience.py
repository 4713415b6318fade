"""A handshake that the database holds up is answered in time."""

import psycopg
import pytest

from tests.integration.functions import conftest
from tests.integration.functions.events import Run


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
