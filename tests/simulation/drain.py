"""The end of a history: no more faults, everybody is there and does what he owes, and the sweeps go on until all is quiet."""

from tests.simulation.agents import HANDSHAKES, SimulatedAgents
from tests.simulation.operators import Operators
from tests.simulation.world import World

PERIODS = (61, 61, *(350,) * 14)
"""Seconds between the sweeps: two as they are in earnest, and then as many as the longest timeouts take."""


def drain(world: World, agents: SimulatedAgents, operators: Operators) -> None:
    """Bring everything to its end; what has none after that is stuck."""
    anew = {agent_id: world.pick(3) > 0 for agent_id in HANDSHAKES}
    world.calm = True
    world.say("── from here on everything is well ──")
    waiting = [agent_id for agent_id in HANDSHAKES if world.observer.alive(agent_id)]
    for agent_id in waiting:
        if agent_id in operators.rejected:
            operators.decide(agent_id, "approved")
        sockets = agents.sockets(agent_id)
        if anew[agent_id] or not (sockets and sockets[0].healthy):
            agents.connect(agent_id)
            agents.flush(agents.flushes[-1])
    agents.answer_all(waiting)
    for period in PERIODS:
        if not world.observer.alive():
            break
        world.pass_time(period)
        for agent_id in waiting:
            # Only seen: what is delivered from here on, the sweep delivers.
            agents.heartbeat(agents.sockets(agent_id)[0], only_seen=True)
        world.sweep()
        agents.answer_all(waiting)
    world.sweep()
