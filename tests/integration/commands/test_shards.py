"""Several sweeps divide the agents among themselves."""

import pytest

from dispatcher.commands import claims
from dispatcher.commands.claims import Shard
from dispatcher.commands.flush import FlushRequest
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection
from tests.fakes import FakeGateway, plenty
from tests.rows import connect_new_agent, put

AGENTS = [f"edge-{number}" for number in range(24)]


@pytest.fixture
def fleet(conn: Connection) -> None:
    """Agents that are connected, each with a due command."""
    for agent in AGENTS:
        connect_new_agent(conn, agent, f"c-{agent}")
        put(conn, f"k-{agent}", agent)


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("of", [1, 2, 3, 8])
def test_every_agent_is_in_exactly_one_shard(conn: Connection, of: int) -> None:
    """None is forgotten, and none is looked at twice; no shard has them all."""
    found = [
        [agent.agent_id for agent in claims.due_agents(conn, 1000, Shard(number=number, of=of))] for number in range(of)
    ]

    assert sorted(agent for shard in found for agent in shard) == sorted(AGENTS)
    assert of == 1 or all(len(shard) < len(AGENTS) for shard in found)


@pytest.mark.usefixtures("fleet")
def test_the_shards_of_a_minute_deliver_everything_and_do_the_other_passes_once(conn: Connection) -> None:
    """The sweep has the first shard and every pass; the others only deliver."""
    gateway, handed_over = FakeGateway(), list[FlushRequest]()
    conn.execute("update agent_commands set deliver_by = now() - interval '1 second' where agent_id = 'edge-0'")

    shard = sweep(conn, gateway, shard=Shard(number=1, of=2), deadline=plenty, hand_over=handed_over.append)
    rest = sweep(conn, gateway, deadline=plenty, hand_over=handed_over.append, shard=Shard(number=0, of=2))

    assert (shard.expired, rest.expired) == (0, 1)
    assert shard.sent > 0
    assert rest.sent > 0
    assert shard.sent + rest.sent == len(AGENTS) - 1
    assert handed_over == []
    assert len(set(gateway.command_ids)) == len(AGENTS) - 1
