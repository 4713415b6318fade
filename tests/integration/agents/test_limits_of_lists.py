"""A label limit that means more agents than are read by their labels: each row is asked then."""

import pytest

from dispatcher.agents import agent_lists, longest_due
from dispatcher.agents.agent_lists import AgentFilter
from dispatcher.platform.database import Connection
from tests.rows import create_agent, put

EU = {"region": "eu"}


@pytest.fixture(autouse=True)
def many(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """More agents within the limit than are read by their labels; and others."""
    monkeypatch.setattr(agent_lists, "FEW", 1)
    for number, region in enumerate(["eu", "us", "eu", "us"]):
        create_agent(conn, f"a{number}")
        put(conn, f"k{number}", f"a{number}")
        conn.execute(
            "update agents set labels = jsonb_build_object('region', %s::text) where agent_id = %s",
            (region, f"a{number}"),
        )


@pytest.mark.parametrize("backlog", [None, True])
def test_the_list_of_agents_hides_the_others(conn: Connection, *, backlog: bool | None) -> None:
    """With and without the index of what waits."""
    listed = agent_lists.list_page(conn, scope=EU, wanted=AgentFilter(backlog=backlog), limit=9)

    assert [agent.agent_id for agent in listed.agents] == ["a0", "a2"]


def test_the_list_of_those_that_wait_longest_hides_the_others(conn: Connection) -> None:
    """It reads the queues, and asks for each agent."""
    found = longest_due.list_page(conn, scope=EU, wanted=AgentFilter(), limit=9)

    assert {agent.agent_id for agent in found.agents} == {"a0", "a2"}
