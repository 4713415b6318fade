"""Short histories that are written by hand: each one reveals one of the planted faults."""

from collections.abc import Callable
from typing import Any, TypeVar

from dispatcher.commands.submission import NewCommand
from tests.simulation.history import History
from tests.simulation.injected_faults import POST_FAULTS, PostFault
from tests.simulation.simulation_database import SimulationDatabase
from tests.simulation.simulator import Simulation

T = TypeVar("T")


class Scenario:
    """A simulation in which only the named faults happen."""

    def __init__(self, database: SimulationDatabase) -> None:
        database.reset()
        self.simulation = Simulation(database, self)
        self.agents = self.simulation.agents
        self.post_faults: list[PostFault] = []
        """The faults of the next posts."""
        self.during_calls: list[Callable[[], None]] = []
        """What others do during the next network calls."""
        self.simulation.during_call = self._during_call
        self._commands = 0

    def choose(self, options: tuple[T, ...]) -> T:
        """Choose the next fault of a post, and the ordinary case of everything else."""
        if options is POST_FAULTS and self.post_faults:
            return self.post_faults.pop(0)  # type: ignore[return-value]
        return options[0]

    def _during_call(self, _agent_id: str) -> None:
        if self.during_calls:
            self.during_calls.pop(0)()

    def connect(self, agent_id: str) -> None:
        """Connect an agent, and deliver its queue."""
        self.agents.connect(agent_id)
        self.agents.flush(self.agents.flush_requests.pop())

    def submit(self, agent_id: str, **fields: Any) -> None:
        """Submit a command."""
        self._commands += 1
        command = NewCommand(agent_id=agent_id, action=f"do-{self._commands}", payload={}, **fields)
        self.simulation.operators.submit_exactly([command])

    def report(self, agent_id: str, *kinds: str, of_agent: str | None = None, connection: int = 0) -> None:
        """Report on the first command that reached this agent, or another one; connection 1 is the one before the last."""
        for kind in kinds:
            command = self.agents.memory[of_agent or agent_id][0]
            self.agents.report(self.agents.connections(agent_id)[connection], command, kind)

    def pass_time_and_sweep(self, seconds: int) -> None:
        """Let time pass, then sweep."""
        self.simulation.pass_time(seconds)
        self.simulation.sweep()


def play_scenario(database: SimulationDatabase, scenario_of: Callable[[Scenario], None]) -> History:
    """Play a scenario to its end, and return its history."""
    scenario = Scenario(database)
    with scenario.simulation.patched_layer():
        scenario_of(scenario)
        scenario.simulation.finish(reconnecting=set())
    return scenario.simulation.history


def offline_agent(scenario: Scenario) -> None:
    """A command waits for an offline agent."""
    scenario.submit("k8s")


def expiry(scenario: Scenario) -> None:
    """A command expires before its agent connects."""
    scenario.submit("k8s", ttl_seconds=5)
    scenario.simulation.pass_time(25)


def connection_after_expiry(scenario: Scenario) -> None:
    """An agent connects after a command's deliver_by, but before the sweep."""
    expiry(scenario)
    scenario.submit("k8s")
    scenario.connect("k8s")


def missing_ack(scenario: Scenario) -> None:
    """A command arrives, and its agent sends no ack."""
    scenario.connect("k8s")
    scenario.submit("k8s")
    scenario.pass_time_and_sweep(61)


def post_without_answer(scenario: Scenario) -> None:
    """A post arrives, but its answer does not."""
    scenario.connect("k8s")
    scenario.post_faults = [PostFault.TIMEOUT_DELIVERED]
    scenario.submit("k8s")


def backlog(scenario: Scenario) -> None:
    """An agent with a window of one connects and has several commands."""
    for _ in range(3):
        scenario.submit("k8s")
    scenario.connect("k8s")


def submission_during_post(scenario: Scenario) -> None:
    """A command is submitted while another one is posted."""
    scenario.connect("batch")
    scenario.simulation.pass_time(25)
    scenario.during_calls = [lambda: scenario.submit("batch")]
    scenario.submit("batch")


def repeated_reports(scenario: Scenario) -> None:
    """An ack comes after the result, and a result comes twice."""
    scenario.connect("k8s")
    scenario.submit("k8s")
    scenario.report("k8s", "ack", "complete", "ack", "complete")


def late_ack(scenario: Scenario) -> None:
    """An ack comes over the old connection after the command was sent again over the new one."""
    scenario.connect("k8s")
    scenario.submit("k8s")
    scenario.connect("k8s")
    scenario.report("k8s", "ack", connection=1)


def late_disconnect(scenario: Scenario) -> None:
    """The $disconnect event of the old connection comes after the new one was opened."""
    scenario.connect("k8s")
    scenario.connect("k8s")
    scenario.agents.disconnect(scenario.agents.connections("k8s")[1])


def forged_report(scenario: Scenario) -> None:
    """An agent reports on another agent's command."""
    scenario.connect("k8s")
    scenario.connect("batch")
    scenario.submit("k8s")
    scenario.report("batch", "report complete", of_agent="k8s")


def reused_key(scenario: Scenario) -> None:
    """An idempotency key comes with two requests."""
    for _ in range(2):
        scenario.submit("k8s", idempotency_key="key-1")


def missing_result(scenario: Scenario) -> None:
    """An acknowledged command never gets a result."""
    scenario.connect("k8s")
    scenario.submit("k8s")
    scenario.report("k8s", "ack")
    scenario.pass_time_and_sweep(700)


def inserted_row(scenario: Scenario) -> None:
    """A command is inserted with psql."""
    scenario.connect("k8s")
    scenario.simulation.pass_time(25)
    scenario.simulation.operators.insert("k8s")
    scenario.simulation.sweep()


def killed_lease_holder(scenario: Scenario) -> None:
    """A process is killed while it holds the lease."""
    scenario.connect("k8s")
    scenario.post_faults = [PostFault.KILLED_BEFORE]
    scenario.submit("k8s")
    scenario.pass_time_and_sweep(61)


def refused_post(scenario: Scenario) -> None:
    """A post is refused, and its command returns to the queue."""
    scenario.connect("k8s")
    scenario.post_faults = [PostFault.REFUSED]
    scenario.submit("k8s")
