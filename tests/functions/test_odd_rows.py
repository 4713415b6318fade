"""Rows that only psql can put in: people can read, list and cancel them, and the others beside them."""

import json

import pytest

from dispatcher.commands import settlement
from dispatcher.commands.settlement import Reporter
from dispatcher.platform.database import Connection
from tests.functions.conftest import Run
from tests.functions.test_intake import ask
from tests.rows import put


@pytest.mark.parametrize("depth", [100, 300, 900, 995, 5_000, 16_000])
def test_a_payload_of_any_depth_stops_no_reader(run: Run, agent: str, conn: Connection, depth: int) -> None:
    """I11: PostgreSQL holds deeper ones than Python can decode; such a one is shown as its text."""
    payload = "[" * depth + "]" * depth
    put(conn, "k1", agent)
    put(conn, "deep", agent, payload=payload)

    listed = ask(run, "commands", "GET", "/api/v1/commands")
    read = ask(run, "commands", "GET", "/api/v1/commands/deep")
    cancelled = ask(run, "commands", "POST", "/api/v1/commands/deep/cancel")

    assert (listed[0], read[0], cancelled[0]) == (200, 200, 202)
    assert [each["commandId"] for each in listed[1]["commands"]] == ["deep", "k1"]
    shown = read[1]["payload"]
    assert (shown if isinstance(shown, str) else json.dumps(shown)) == payload


def test_a_result_of_any_depth_that_an_agent_reports_stops_no_reader(run: Run, agent: str, conn: Connection) -> None:
    """I11: whoever holds one agent's key closes nobody's list."""
    put(conn, "k1", agent, status="sent", attempt=1, epoch=0)
    result = "[" * 400 + "]" * 400
    settlement.complete(conn, Reporter(agent_id=agent, epoch=0), [("k1", json.loads(result))])

    listed = ask(run, "commands", "GET", "/api/v1/commands")

    assert (listed[0], listed[1]["commands"][0]["result"]) == (200, result)
