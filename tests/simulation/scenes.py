"""Histories that are written down: in each, one fault of the dispatcher's would show."""

from collections.abc import Callable
from typing import Any, TypeVar

from tests.simulation.agents import SimulatedAgents
from tests.simulation.connection import FragileConnection
from tests.simulation.drain import drain
from tests.simulation.gateway import FATES, Fate
from tests.simulation.laboratory import Laboratory
from tests.simulation.operators import Operators, OwnCommand
from tests.simulation.world import World

T = TypeVar("T")


class Scene:
    """A world in which all goes well but what is told."""

    def __init__(self, laboratory: Laboratory, environments: list[FragileConnection]) -> None:
        laboratory.reset()
        self.world = World(laboratory, environments)
        self.agents = SimulatedAgents(self.world)
        self.operators = Operators(self.world, self.agents)
        self.fates: list[Fate] = []
        """Of the next posts."""
        self.meanwhile: list[Callable[[], None]] = []
        """What others do while the next posts are under way."""
        self.world.choose = self._choose  # type: ignore[method-assign]
        self.world.between = self._between
        self._serial = 0

    def _choose(self, options: tuple[T, ...]) -> T:
        return self.fates.pop(0) if options is FATES and self.fates else options[0]  # type: ignore[return-value]

    def _between(self, _agent_id: str) -> None:
        if self.meanwhile:
            self.meanwhile.pop(0)()

    def connect(self, agent_id: str) -> None:
        """Let an agent connect, and flush its queue."""
        self.agents.connect(agent_id)
        self.agents.flush(self.agents.flushes.pop())

    def submit(self, agent_id: str, **fields: Any) -> None:
        """Submit a command."""
        self._serial += 1
        new = OwnCommand(agent_id=agent_id, action=f"do-{self._serial}", payload={}, submitted_by="ann", **fields)
        self.agents.sessions[new.action] = new.session_id
        self.operators.submit_exactly([new])

    def tell(self, agent_id: str, *kinds: str, of: str | None = None, socket: int = 0) -> None:
        """Let an agent report on the first thing that reached it, or another one; over an older socket, if told."""
        for kind in kinds:
            self.agents.tell(self.agents.sockets(agent_id)[socket], self.agents.memory[of or agent_id][0], kind)

    def end(self) -> None:
        """Let everything come to its end."""
        drain(self.world, self.agents, self.operators)
        self.world.observer.finish()


def away(scene: Scene) -> None:
    """A command waits for an agent that is away."""
    scene.submit("k8s")


def expiry(scene: Scene) -> None:
    """A command may not wait for long, and its agent stays away for longer."""
    scene.submit("k8s", ttl_seconds=5)
    scene.world.pass_time(25)


def expired_on_return(scene: Scene) -> None:
    """An agent is back before any sweep, but after the time that its command may wait for."""
    expiry(scene)
    scene.submit("k8s")
    scene.connect("k8s")


def unacknowledged(scene: Scene) -> None:
    """A command arrives, and its agent says nothing."""
    scene.connect("k8s")
    scene.submit("k8s")
    scene.world.pass_time(61)
    scene.world.sweep()


def unanswered(scene: Scene) -> None:
    """A post arrives, and its answer does not."""
    scene.connect("k8s")
    scene.fates = [Fate.UNKNOWN_ARRIVED]
    scene.submit("k8s")


def backlog(scene: Scene) -> None:
    """An agent with a window of one returns to several commands."""
    for _ in range(3):
        scene.submit("k8s")
    scene.connect("k8s")


def meanwhile(scene: Scene) -> None:
    """A command is submitted while another one is posted."""
    scene.connect("batch")
    scene.world.pass_time(25)
    scene.meanwhile = [lambda: scene.submit("batch")]
    scene.submit("batch")


def twice_acknowledged(scene: Scene) -> None:
    """An ack comes after the result, and a result twice."""
    scene.connect("k8s")
    scene.submit("k8s")
    scene.tell("k8s", "ack", "complete", "ack", "complete")


def old_ack(scene: Scene) -> None:
    """An ack comes late over the old socket, when the command went out again over the new one."""
    scene.connect("k8s")
    scene.submit("k8s")
    scene.connect("k8s")
    scene.tell("k8s", "ack", socket=1)


def late_close(scene: Scene) -> None:
    """The old socket's $disconnect comes when the new one is there."""
    scene.connect("k8s")
    scene.connect("k8s")
    scene.agents.closed(scene.agents.sockets("k8s")[1])


def forged(scene: Scene) -> None:
    """An agent reports on another's command."""
    scene.connect("k8s")
    scene.connect("batch")
    scene.submit("k8s")
    scene.tell("batch", "report complete", of="k8s")


def reused_key(scene: Scene) -> None:
    """A key comes twice, with two bodies."""
    for _ in range(2):
        scene.submit("k8s", idempotency_key="key-1")


def no_result(scene: Scene) -> None:
    """An acknowledged command is never heard of again."""
    scene.connect("k8s")
    scene.submit("k8s")
    scene.tell("k8s", "ack")
    scene.world.pass_time(700)
    scene.world.sweep()


def inserted(scene: Scene) -> None:
    """A row is inserted with psql."""
    scene.connect("k8s")
    scene.world.pass_time(25)
    scene.operators.insert("k8s")
    scene.world.sweep()


def killed_holder(scene: Scene) -> None:
    """A process is killed while it holds the lease."""
    scene.connect("k8s")
    scene.fates = [Fate.KILLED_BEFORE]
    scene.submit("k8s")
    scene.world.pass_time(61)
    scene.world.sweep()


def refused(scene: Scene) -> None:
    """A post is refused, and its command given back."""
    scene.connect("k8s")
    scene.fates = [Fate.REFUSED]
    scene.submit("k8s")


SHOWN_BY: dict[str, Callable[[Scene], None]] = {
    "accepted before the commit": away,
    "the expired are not swept": expiry,
    "what was refused counts as completed": refused,
    "the attempt is not counted": unacknowledged,
    "a post without an answer counts as never sent": unanswered,
    "the order is reversed": backlog,
    "the lease is ignored": meanwhile,
    "the window is ignored": backlog,
    "an ack is not guarded": twice_acknowledged,
    "the epoch of an ack is ignored": old_ack,
    "an old socket's close forgets the newer connection": late_close,
    "an agent settles another's command": forged,
    "what moved nothing is logged as a success": twice_acknowledged,
    "a key stands for any body": reused_key,
    "a pass stumbles over a row": no_result,
    "a function's clock is written": unacknowledged,
    "a transaction is open across the posts": unacknowledged,
    "the claim does not look at deliver_by": expired_on_return,
    "the wake-up is lost": meanwhile,
    "the sweep delivers nothing": inserted,
    "a lease never ends": killed_holder,
    "what is given back leaves no history": refused,
}
"""Which scene shows which of the faults in plants.py."""
